"""A fleet: ten thousand live nodes and a hundred thousand that come and go, against a real cloud."""
