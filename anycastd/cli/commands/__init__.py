"""One file per command: ``configure(parser)`` says its arguments, ``main(args)`` runs it."""
