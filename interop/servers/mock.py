"""A resource server made of x402-mock, 0.3.0 or 0.1.1 as the venv has it: it
sells access tokens at POST /token for a permit in the body. Arguments come as
one JSON object in INTEROP; the ready line and what happens go to stdout."""

import json
import os
import socket
from importlib.metadata import version

import uvicorn
from x402_mock.adapters.adapters_hub import AdapterHub
from x402_mock.engine.events import SettleSuccessEvent
from x402_mock.servers import Http402Server, create_private_key

OPTIONS = json.loads(os.environ["INTEROP"])


def say(line):
    print(line, flush=True)


def server_0_3_0():
    from x402_mock.adapters.evm.schemas import EVMPaymentComponent

    hub = AdapterHub(evm_private_key=OPTIONS["key"])
    app = Http402Server(token_key=create_private_key(), adapter_hub=hub, token_expires_in=300)
    app.add_payment_method(EVMPaymentComponent(**OPTIONS["component"]))
    return app


def server_0_1_1():
    hub = AdapterHub(evm_private_key=OPTIONS["key"], rpc_url=OPTIONS["component"]["rpc_url"])
    app = Http402Server(token_key=create_private_key(), adapter_hub=hub, token_expires_in=300)
    component = OPTIONS["component"]
    app.add_payment_method(component["caip2"], component["amount"], component["currency"])
    return app


app = server_0_3_0() if version("x402-mock") == "0.3.0" else server_0_1_1()


@app.hook(SettleSuccessEvent)
async def settled(event, _):
    say(f"settled {event.settlement_result.tx_hash}")


@app.get("/paid/report")
@app.payment_required
async def report(payload):
    say("handled")
    return {"secret": OPTIONS["secret"]}


listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen()
say(f"ready http://127.0.0.1:{listener.getsockname()[1]}")
uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
