"""Detection of anomalies by isthmus and by the methods it should beat, on tables, images and series."""
