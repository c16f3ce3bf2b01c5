"""Check 7: who may come in at the OPC UA server, and how."""

import ua as opcua
from asyncua import Client, ua
from check import equal, ok
from plant import PASSWORD


async def run(url, folder):
    """Endpoints, user names, passwords. Gives the reader of the user who may write, None where he can't come in."""
    endpoints = await Client(url, timeout=10).connect_and_get_server_endpoints()
    policies = {(e.SecurityPolicyUri.rsplit("#", 1)[-1], e.SecurityMode.name) for e in endpoints}
    equal("the endpoints are those of the configuration", sorted(policies),
          [("Basic256Sha256", "SignAndEncrypt"), ("None", "None_")])
    clear = [t.TokenType.name for e in endpoints if e.SecurityMode == ua.MessageSecurityMode.None_
             for t in e.UserIdentityTokens]
    equal("without encryption only anonymous is offered", clear, ["Anonymous"])
    try:
        operator = await opcua.secure(url, folder, "operator", PASSWORD)
        ok("Basic256Sha256 with user name and password connects", True)
    except Exception as why:  # whatever it is, it is the finding
        ok("Basic256Sha256 with user name and password connects", False, repr(why))
        return None
    for what, user, password in (("a wrong password", "operator", "wrong"), ("an unknown user", "nobody", PASSWORD)):
        try:
            intruder = await opcua.secure(url, folder, user, password)
            await intruder.client.disconnect()
            ok(f"{what} is refused", False, "connected")
        except ua.UaStatusCodeError as error:
            name = ua.StatusCode(error.code).name
            ok(f"{what} is refused", name in ("BadUserAccessDenied", "BadIdentityTokenRejected"), name)
        except Exception as why:
            ok(f"{what} is refused", False, repr(why))
    return operator
