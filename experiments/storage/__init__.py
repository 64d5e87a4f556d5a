"""A run that lies under a URL besides its folder: who may write it, and its copy there."""
