"""Plain FedAvg as Flower ships it, of a model that trains in no time."""
