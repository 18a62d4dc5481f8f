"""The nodes of the broker."""

API = "/monitoring/api/v1"


async def test_nodes_say_what_is_wrong_with_them(client, inspector):
    inspector.said["maxmemory_policy"] = "allkeys-lru"

    (node,) = (await client.get(f"{API}/nodes")).json()["nodes"]

    assert node["address"] == "127.0.0.1:6379"
    assert any("allkeys-lru" in problem["sentence"] for problem in node["problems"])
    assert node["said"]["maxmemory_policy"] == "allkeys-lru"
    assert "allkeys-lru" in (await client.get(f"{API}/nodes.csv")).text


async def test_brokers_are_a_table_too(client):
    lines = (await client.get(f"{API}/brokers.csv")).text.splitlines()

    assert lines[0].startswith("address,version,memory_bytes")
    assert lines[1].startswith("127.0.0.1:6379,Valkey 9.1,")
