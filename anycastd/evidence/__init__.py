"""What is known of this machine.  A source is a folder: its observations, and rules -> findings.

finding    what the evidence says of one rule: true, false or unknown; joins by `all` and `any`
haproxy/   HAProxy's stats socket and event ring
vip/       the VIP: tested by a self-test, kept on its interface
servers/   the servers behind HAProxy, asked by TCP when there is a doubt
checks/    what the agent asks besides HAProxy, by name
machine/   for `check` alone: addresses, sockets, settings of the kernel
sources    every source: its observations, and what evaluates its rules
"""
