"""What tests share: appliances, peers, HAProxies, ExaBGPs, waits."""
