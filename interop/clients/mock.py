"""The client of x402-mock, 0.3.0 or 0.1.1 as the venv has it. Arguments come as
one JSON object in INTEROP, the outcome of each request goes to stdout as one
JSON array."""

import asyncio
import json
import os
from importlib.metadata import version

from x402_mock.adapters.adapters_hub import AdapterHub
from x402_mock.clients.http_client import Http402Client

OPTIONS = json.loads(os.environ["INTEROP"])
COMPONENT = OPTIONS["component"]


def client_0_3_0():
    from x402_mock.adapters.evm.schemas import EVMPaymentComponent

    client = Http402Client(adapter_hub=AdapterHub(evm_private_key=OPTIONS["key"]), timeout=30)
    client.add_payment_method(EVMPaymentComponent(**COMPONENT))
    return client


def client_0_1_1():
    hub = AdapterHub(evm_private_key=OPTIONS["key"], rpc_url=COMPONENT["rpc_url"])
    client = Http402Client(adapter_hub=hub, timeout=30)
    client.add_payment_method(COMPONENT["caip2"], COMPONENT["amount"], COMPONENT["currency"])
    return client


async def main():
    outcomes = []
    async with client_0_3_0() if version("x402-mock") == "0.3.0" else client_0_1_1() as client:
        for _ in range(OPTIONS.get("times", 1)):
            response = await client.get(OPTIONS["url"])
            outcomes.append({"status": response.status_code, "body": response.text})
    print(json.dumps(outcomes))


asyncio.run(main())
