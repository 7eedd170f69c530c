"""The contract that a coordinator and its sites share; it imports no other room of the house."""
