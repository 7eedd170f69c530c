"""The privacy-budget report: what ledgers say, as a document that all its forms are made from."""
