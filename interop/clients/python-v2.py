"""The official Python client, over httpx or requests. Arguments come as one
JSON object in INTEROP, the outcome goes to stdout as one JSON object."""

import asyncio
import base64
import json
import os

from eth_account import Account
from x402 import x402Client, x402ClientSync
from x402.http.clients import x402_requests, x402HttpxClient
from x402.mechanisms.evm import EthAccountSigner
from x402.mechanisms.evm.exact.register import register_exact_evm_client

OPTIONS = json.loads(os.environ["INTEROP"])


def paying(client):
    signer = EthAccountSigner(Account.from_key(OPTIONS["key"]))
    register_exact_evm_client(client, signer)
    return client


def report(response):
    names = ("payment-response", "x-payment-response")
    name = next((name for name in names if name in response.headers), None)
    receipt = json.loads(base64.b64decode(response.headers[name])) if name else None
    outcome = {
        "status": response.status_code,
        "body": response.text,
        "receiptHeader": name,
        "receipt": receipt,
        "cacheControl": response.headers.get("cache-control"),
    }
    print(json.dumps(outcome))


async def with_httpx():
    async with x402HttpxClient(paying(x402Client()), timeout=30) as http:
        report(await http.get(OPTIONS["url"]))


def with_requests():
    with x402_requests(paying(x402ClientSync())) as http:
        report(http.get(OPTIONS["url"], timeout=30))


if OPTIONS["library"] == "httpx":
    asyncio.run(with_httpx())
else:
    with_requests()
