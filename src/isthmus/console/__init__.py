"""What commands share: their options, how they read DATA, what they write and print."""
