"""The format of a run on storage: its manifest, its folders, its committed files. No Spark here."""
