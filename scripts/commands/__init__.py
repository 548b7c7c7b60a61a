"""The commands of `dex`, by what they are about."""
