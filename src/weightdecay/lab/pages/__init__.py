"""What a theory or a measurement says, drawn: figures and pages that explain. Every number on them is computed here."""
