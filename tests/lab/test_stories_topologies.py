"""Every story's network fits together: what it names is there, and its profiles take its values."""

from __future__ import annotations

import pytest
import yaml

from anycastd.lab.network import adapt, routers
from anycastd.lab.network.shipped_files import find_shipped
from anycastd.lab.stories.catalogue import STORIES
from anycastd.lab.stories.steps import Story

each_story = pytest.mark.parametrize("story", STORIES.values(), ids=list(STORIES))


@each_story
def test_what_a_network_names_is_there(story: Story) -> None:
    """Nodes have one name each; links, routers, sites and clients are on nodes that there are."""
    topology = story.topology
    nodes = set(topology.names)
    assert len(nodes) == len(topology.names)
    named = {name for link in topology.links for name in (link.node, link.far_node)}
    named |= {router.node for router in topology.routers}
    named |= {client.node for client in topology.clients}
    named |= {program.node for program in topology.programs}
    for site in topology.sites:
        named |= {site.host, *site.servers, *([site.web_host] if site.web else [])}
    assert named <= nodes
    assert topology.observed in {router.node for router in topology.routers}
    assert {router.make for router in topology.routers} <= set(routers.MAKES)
    ports = [(link.node, link.port) for link in topology.links]
    ports += [(link.far_node, link.far_port) for link in topology.links]
    assert len(set(ports)) == len(ports)
    assert max(len(port) for _, port in ports) < 16, "Linux takes 15 characters"
    assert topology.find_node("192.0.2.250") == ""


@each_story
def test_the_addresses_of_a_site_are_those_of_its_nodes(story: Story) -> None:
    """Each neighbor is an address of one of its servers, and its own address is its host's."""
    topology = story.topology
    for site in topology.sites:
        assert topology.find_site(site.name) is site
        assert topology.find_node(site.address) == site.host
        assert {topology.find_node(each) for each in site.neighbors} == set(site.servers)
        assert all(topology.find_node(hop) for hop in site.next_hops)
    for unique in ("name", "short", "title"):
        values = [getattr(site, unique) for site in topology.sites]
        assert len(set(values)) == len(values), unique


@each_story
def test_a_profile_takes_the_addresses_of_its_site(story: Story) -> None:
    """The shipped profile is filled in, and has the site's AS number and the network's VIP."""
    topology = story.topology
    for site in topology.sites:
        file = story.profiles.get(site.name, site.profile)
        text = find_shipped(f"profiles/{file}").read_text(encoding="utf-8")
        filled = yaml.safe_load(
            adapt.adapt_profile(
                text,
                site,
                "/run/x/anycastd.sock",
                story.return_timers,
                story.drain_times,
                sites=topology.sites,
                vip=topology.vip,
            )
        )
        assert filled["bgp"]["local_as"] == site.local_as
        assert filled["bgp"]["local_address"] == site.address
        (service,) = filled["services"].values()
        assert service["vip"].split("/")[0] == topology.vip


@each_story
def test_a_short_form_names_steps_of_its_story(story: Story) -> None:
    """Each step has a name of its own, and the short form has some of them."""
    names = [step.name for step in story.steps]
    assert len(set(names)) == len(names)
    assert set(story.short) <= set(names)
    short = story.choose_steps(short=True)
    assert [step.name for step in short] == list(story.short or names)
    assert story.choose_steps(short=False) == story.steps
