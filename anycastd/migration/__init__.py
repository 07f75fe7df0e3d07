"""Configurations of other programs -> a profile to begin with, for `anycastd import` alone.

Whatever the input is, a reader returns a draft or raises SourceError with its line.  Nothing of the
input is run or looked up.

    draft            the values of a profile that is not finished, and what has no counterpart
    exabgp_syntax    the text of an ExaBGP configuration -> statements and blocks with their lines
    healthcheck_options  options of ExaBGP's healthcheck: a command line or its file -> values
    healthcheck      those values -> a draft
    routes           a static route of ExaBGP -> a service of a draft
    exabgp_conf      an ExaBGP configuration of release 3, 4 or 5 -> a draft
    haproxy_cfg      the names of a haproxy.cfg -> a draft
    write            a draft -> the text of a profile; what `check` refuses is marked EDIT
"""
