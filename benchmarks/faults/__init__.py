"""Faults put in by chance: inputs that are spoilt, archives that are damaged, runs that are killed or started twice."""
