"""The page of the broker."""


async def test_a_healthy_broker_has_all_that_one_asks_of_it(client):
    text = (await client.get("/monitoring/broker")).text

    assert "Broker 127.0.0.1:6379 is healthy." in text
    for shown in ("Valkey 9.1", "0.42 ms", "1,874", "1 d 2 h", "50.0 MiB", "58.4 MiB", "1.22",
                  "noeviction", "of 10,000", "3 wait for tasks", "4,711 writes", "10.0.0.7:6379",
                  "used_memory_peak"):  # fmt: skip
        assert shown in text
    assert 'href="/monitoring/queues/default"' in text


async def test_what_is_wrong_comes_first_in_words(client, inspector):
    inspector.said |= {"rdb_last_bgsave_status": "err", "rejected_connections": "2"}

    text = (await client.get("/monitoring/broker")).text

    assert "127.0.0.1:6379 its last snapshot failed" in text
    assert text.index("snapshot failed") < text.index("refused 2 connections")


async def test_a_node_that_says_nothing_is_shown_all_the_same(client, inspector):
    inspector.said.clear()

    text = (await client.get("/monitoring/broker")).text

    assert "grant +info" in text
    assert "All that INFO says" not in text


async def test_every_page_leads_to_the_broker(client):
    assert 'href="/monitoring/broker"' in (await client.get("/monitoring/")).text
    assert 'aria-current="page">Broker' in (await client.get("/monitoring/broker")).text
