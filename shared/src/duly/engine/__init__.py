"""The queue engine, in eight rooms: taskiq and taskiq-redis outside, Valkey or Redis inside.

| room | responsibility |
|---|---|
| `transport` | bytes to a node |
| `storage` | keys, messages, Lua scripts, transitions |
| `middleware` | hooks around attempts: log, metrics, tracing |
| `enqueue` | a request becomes a task |
| `inspection` | read and operate |
| `maintenance` | background loops |
| `worker` | run and settle |
| `taskiq` | taskiq applications |

Imports go one way, from the last to the first; inspection and enqueue stand side by side.
Everything here is internal: import what you need from `duly`.
"""
