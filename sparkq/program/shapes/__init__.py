"""The dtype and the shape of what each operator gives, from those of what it takes, for one number of images."""
