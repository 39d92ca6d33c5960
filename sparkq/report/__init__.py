"""Reports as HTML pages of one file each; import the module of the report that you want (needs ``sparkq[report]``)."""
