"""Tables: frames, Parquet and delimited files whose columns have kinds."""
