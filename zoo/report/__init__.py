"""What runs say of attention: rows, statistics, one page, pictures and model cards."""
