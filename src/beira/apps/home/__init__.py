"""The home hub (ANASY): a house that obeys with the internet gone."""
