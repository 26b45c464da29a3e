"""The commands of `prep`, a file for each family. They wire roots, options and stages together, print, and exit."""
