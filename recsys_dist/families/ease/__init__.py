"""EASE (Steck 2019): a linear autoencoder of items in closed form."""
