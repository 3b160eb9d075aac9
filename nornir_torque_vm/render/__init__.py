"""Texts made from values: domain XML, cloud-init seeds, shell scripts. Pure; values only through encoders."""
