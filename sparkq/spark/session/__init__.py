"""The Spark session: how it is found or started, its settings, its actions and their failures."""
