"""The lab: one command that puts a claim about weight decay to the test. Imports the core; the core never imports it."""
