"""Recipes: from sources with licences to checked, decontaminated, leak-free files in which every row is accounted for."""
