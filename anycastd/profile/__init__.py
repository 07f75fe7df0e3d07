"""What the operator wants: YAML text -> Profile, and who wins at the far router.

Pure (with yaml and jsonschema); the folders below ``cli`` import ``model`` and ``regions`` alone;
but ``speaker/rewrite`` reads a profile, too.

    regions        the values about other regions and HTTP: Endpoint, Region, Web
    model          the values: Profile, Neighbor, Service, rules; what all other folders import
    yaml_reader    YAML text -> plain values with the line of each
    without_secrets  text -> the text without secrets, for recordings
    schema_errors  what jsonschema found, described
    document       text and schema -> Document: complete values, each problem with its line
    formats        parsers of the schema's formats: addresses, prefixes, communities
    build          Document -> Profile
    rules/         rules across several fields, which a schema cannot express
    validate       text -> Profile, or everything that is wrong with it
    best_path      which region wins for each combination of levels
    copies         values that two regions' profiles share by mistake; lists of regions that differ
    compare        problems between the profiles of several regions, with proposals
"""
