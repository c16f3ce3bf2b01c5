"""asyncua as OPC UA client: finds tags by browsing, reads, subscribes, writes."""

import logging

from asyncua import Client, ua
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from certificates import rsa_certificate

logging.getLogger("asyncua").setLevel(logging.CRITICAL)
APPLICATION = "urn:interop:client"


class Watcher:
    """What the subscription told, in its order: path -> data values."""

    def __init__(self, paths):
        self.paths = paths
        self.told = {}

    def datachange_notification(self, node, _value, data):
        """Called by asyncua."""
        self.told.setdefault(self.paths[node.nodeid], []).append(data.monitored_item.Value)

    def status_change_notification(self, status):
        """Called by asyncua; the values tell all that matters here."""


class Reader:
    """A connected client and its map of `device/tag` to nodes."""

    def __init__(self, client):
        self.client = client
        self.nodes = {}

    async def find(self, devices):
        """Browses from Objects: an object named like a device, and all variables below it."""
        async def below(node, depth):
            for child in await node.get_children():
                name = (await child.read_browse_name()).Name
                if name in devices and await child.read_node_class() == ua.NodeClass.Object:
                    await self._variables(child, name)
                elif depth and name != "Server" and await child.read_node_class() == ua.NodeClass.Object:
                    await below(child, depth - 1)

        await below(self.client.nodes.objects, 3)
        return self

    async def _variables(self, folder, path):
        for child in await folder.get_children():
            name = (await child.read_browse_name()).Name
            if await child.read_node_class() == ua.NodeClass.Variable:
                self.nodes[f"{path}/{name}"] = child
            elif await child.read_node_class() == ua.NodeClass.Object:
                await self._variables(child, f"{path}/{name}")

    async def read(self, path):
        """Value, status and times of a tag."""
        return await self.nodes[path].read_data_value(raise_on_bad_status=False)

    async def read_all(self, paths):
        """The same of many, in one request."""
        values = await self.client.uaclient.read_attributes(
            [self.nodes[p].nodeid for p in paths], ua.AttributeIds.Value)
        return dict(zip(paths, values))

    async def watch(self, paths):
        """Subscribes; the first notification of each comes by itself."""
        watcher = Watcher({self.nodes[p].nodeid: p for p in paths})
        subscription = await self.client.create_subscription(100, watcher)
        await subscription.subscribe_data_change([self.nodes[p] for p in paths], queuesize=50)
        return watcher

    async def write(self, path, value, kind):
        """Writes a value of a built-in type; gives the status that the server answered."""
        data = ua.DataValue(ua.Variant(value, ua.VariantType[kind]))
        try:
            await self.nodes[path].write_attribute(ua.AttributeIds.Value, data)
            return "Good"
        except ua.UaStatusCodeError as error:
            return ua.StatusCode(error.code).name


async def plain(url):
    """Security None, anonymous."""
    client = Client(url, timeout=10)
    await client.connect()
    return Reader(client)


async def secure(url, folder, user, password, name="client"):
    """Basic256Sha256, sign and encrypt, user name. Raises where the server refuses."""
    client = Client(url, timeout=20)
    client.application_uri = APPLICATION
    client.set_user(user)
    client.set_password(password)
    await client.set_security(SecurityPolicyBasic256Sha256, str(folder / f"{name}.der"), str(folder / f"{name}.pem"),
                              mode=ua.MessageSecurityMode.SignAndEncrypt)
    await client.connect()
    return Reader(client)


def make_certificate(folder):
    """A self-signed certificate for the client."""
    rsa_certificate(folder, "client", APPLICATION)
