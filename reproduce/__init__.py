"""Scripts that make every weight file of the zoo: prepare the data, train, convert, evaluate, record."""
