"""What the operator wants: YAML text -> Profile, and who wins at the far router.

Pure (with yaml and jsonschema); the folders below ``cli`` import ``model``, ``conditions``,
``checks``, ``route_choice`` and ``regions`` alone; but ``speaker/rewrite`` and ``migration`` read a
profile, too.

    regions        the values about other regions and HTTP: Endpoint, Region, Web
    checks         the values of `checks`: what the agent asks besides HAProxy
    conditions     the values about what a service requires: rules, and conditions that join them
    route_choice   the values of next hops in order, and of a MED by a check
    model          the values: Profile, Neighbor, Service; what all other folders import
    key_paths      values of a file and their key paths, as text for a message
    document       Document: complete values with their lines; a Problem with its line
    formats        parsers of the schema's formats: addresses, prefixes, communities
    build          Document -> Profile
    accepted       an accepted profile as JSON, and back to a Profile, without any check
    yaml_reader    YAML text -> plain values with the line of each
    without_secrets  text -> the text without secrets, for recordings
    schema         the JSON Schema
    schema_errors  what jsonschema found, described
    schema_check   text and schema -> Document
    rules/         rules across several fields, which a schema cannot express
    validate       text -> Profile, or everything that is wrong with it
    acceptance     what a check has accepted, as JSON
    unfinished     what looks as if its author was not finished; for `check` alone
    best_path      which region wins: an order of all levels, and each combination
    copies         values that two regions' profiles share by mistake; lists of regions that differ
    compare_notes  what looks like a problem between profiles and is none
    compare        problems between the profiles of several regions, with proposals
    starter        a pair of profiles to begin with, from a few answers
"""
