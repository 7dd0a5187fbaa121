"""The lab: one command that puts a claim about weight decay to the test. The core never imports it."""
