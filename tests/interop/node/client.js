// node-opcua as OPC UA client: one JSON command a line in, one JSON answer a line out. See node_client.py.
"use strict";

const fs = require("node:fs");
const readline = require("node:readline");
const { OPCUACertificateManager } = require("node-opcua-certificate-manager");
const opcua = require("node-opcua-client");
const { OPCUADiscoveryServer } = require("node-opcua-server-discovery");

// The library speaks on standard output, too: that is for answers.
console.log = console.warn = console.info = console.error;

const { AttributeIds, StatusCodes } = opcua;
// Of which every node has some (OPC 10000-3, table 2 ff.).
const ATTRIBUTES = Object.entries(AttributeIds).filter(([name, id]) => Number.isInteger(id) && id > 0 && id <= 27);
let client, session, subscription, listener, discovery;
const told = new Map();
const events = [];

/** What JSON cannot say otherwise: 64 bits as text, bytes in base64, times as text. */
function plain(value) {
  if (value === undefined || value === null) return null;
  if (typeof value === "bigint") return value.toString();
  if (Buffer.isBuffer(value)) return value.toString("base64");
  if (value instanceof Date) return value.toISOString();
  if (Array.isArray(value) || ArrayBuffer.isView(value)) return Array.from(value, plain);
  if (value instanceof opcua.StatusCode) return value.name;
  if (value instanceof opcua.NodeId) return value.toString();
  if (value instanceof opcua.LocalizedText) return value.text;
  if (value instanceof opcua.QualifiedName) return value.name;
  if (typeof value === "object") {
    const fields = value.toJSON ? value.toJSON() : value;
    return typeof fields === "object" ? Object.fromEntries(Object.entries(fields).map(([k, v]) => [k, plain(v)])) : fields;
  }
  return value;
}

function sample(data) {
  return {
    status: data.statusCode.name,
    type: data.value ? opcua.DataType[data.value.dataType] : null,
    value: data.value ? plain(data.value.value) : null,
    at: plain(data.sourceTimestamp),
    micros: data.sourceTimestamp ? Math.floor((data.sourcePicoseconds || 0) / 1e6) : null,
    bits: data.statusCode.value & 0xffff,
  };
}

/** Trusts whomever it meets. */
async function anybody(pki) {
  const trust = new OPCUACertificateManager({ rootFolder: pki, automaticallyAcceptUnknownCertificate: true });
  await trust.initialize();
  return trust;
}

async function make({ policy, mode, certificate, key, pki, server }) {
  const trust = await anybody(pki);
  return opcua.OPCUAClient.create({
    endpointMustExist: false, connectionStrategy: { maxRetry: 0 }, clientCertificateManager: trust,
    securityPolicy: opcua.SecurityPolicy[policy || "None"], securityMode: opcua.MessageSecurityMode[mode || "None"],
    ...(certificate ? { certificateFile: certificate, privateKeyFile: key } : {}),
    ...(server ? { serverCertificate: server } : {}),
  });
}

/** Who logs in: with a name, a certificate, or nothing. */
function identity({ user, password, userCertificate, userKey }) {
  if (user) return { type: opcua.UserTokenType.UserName, userName: user, password };
  if (!userCertificate) return { type: opcua.UserTokenType.Anonymous };
  return {
    type: opcua.UserTokenType.Certificate, certificateData: fs.readFileSync(userCertificate),
    privateKey: fs.readFileSync(userKey, "utf8"),
  };
}

/** The session of a client that is connected. */
async function logIn(given) {
  session = await client.createSession(identity(given));
  return { session: session.sessionId.toString() };
}

const commands = {
  async endpoints({ url }) {
    const one = opcua.OPCUAClient.create({ endpointMustExist: false, connectionStrategy: { maxRetry: 0 } });
    await one.connect(url);
    const found = await one.getEndpoints();
    const servers = await one.findServers();
    await one.disconnect();
    return {
      endpoints: found.map((e) => ({
        url: e.endpointUrl, policy: e.securityPolicyUri.split("#")[1], mode: opcua.MessageSecurityMode[e.securityMode],
        tokens: e.userIdentityTokens.map((t) => opcua.UserTokenType[t.tokenType]),
      })),
      servers: servers.map((s) => ({ uri: s.applicationUri, urls: s.discoveryUrls })),
    };
  },

  async connect(given) {
    client = await make(given);
    await client.connect(given.url);
    return await logIn(given);
  },

  /** A discovery server at this port. */
  async discovery({ port, pki }) {
    discovery = new OPCUADiscoveryServer({ port, serverCertificateManager: await anybody(pki) });
    await discovery.start();
    return {};
  },

  async undiscovered() {
    await discovery.shutdown();
    return {};
  },

  /** Waits at a port for the server (Reverse Connect). */
  async reverse({ listen, uri, url, certificate, ...given }) {
    listener = new opcua.ClientReverseConnect({ connectionUrl: listen });
    await listener.start();
    // Nobody can be asked for the certificate of a server that cannot be dialled; here it can.
    const asking = opcua.OPCUAClient.create({ endpointMustExist: false, connectionStrategy: { maxRetry: 0 } });
    await asking.connect(url);
    const [{ serverCertificate }] = (await asking.getEndpoints()).filter((e) => e.serverCertificate?.length > 0);
    await asking.disconnect();
    client = await make({ certificate, server: serverCertificate, ...given });
    await client.connectReverse(listener, { serverUri: uri });
    return { endpoint: client.endpointUrl, ...(await logIn(given)) };
  },

  /** All nodes below a node, by hierarchical references. */
  async crawl({ from, skip }) {
    const nodes = [], seen = new Set([from]);
    let front = [from];
    while (front.length > 0) {
      const asked = front.splice(0, 500).map((nodeId) => ({
        nodeId, referenceTypeId: "HierarchicalReferences", includeSubtypes: true,
        browseDirection: opcua.BrowseDirection.Forward, nodeClassMask: 0, resultMask: 63,
      }));
      for (let result of await session.browse(asked)) {
        let references = result.references || [];
        while (result.continuationPoint && result.continuationPoint.length > 0) {
          result = await session.browseNext(result.continuationPoint, false);
          references = references.concat(result.references || []);
        }
        for (const one of references) {
          const id = one.nodeId.toString();
          if (seen.has(id) || (skip || []).includes(id)) continue;
          seen.add(id);
          front.push(id);
          nodes.push({ id, name: one.browseName.name, class: opcua.NodeClass[one.nodeClass],
            type: one.typeDefinition ? one.typeDefinition.toString() : null });
        }
      }
    }
    return { nodes };
  },

  /** Every attribute of many nodes: name of the attribute -> status -> how many. */
  async attributes({ ids }) {
    const found = {};
    for (let at = 0; at < ids.length; at += 100) {
      const some = ids.slice(at, at + 100).flatMap((nodeId) => ATTRIBUTES.map(([, attributeId]) => ({ nodeId, attributeId })));
      const answers = await session.read(some, 0);
      answers.forEach((data, i) => {
        const of = (found[ATTRIBUTES[i % ATTRIBUTES.length][0]] ||= {});
        of[data.statusCode.name] = (of[data.statusCode.name] || 0) + 1;
      });
    }
    return { found };
  },

  async read({ ids, attribute }) {
    const attributeId = AttributeIds[attribute || "Value"];
    const answers = await session.read(ids.map((nodeId) => ({ nodeId, attributeId })), 0);
    return { values: answers.map(sample) };
  },

  async write({ id, type, value, rank }) {
    const status = await session.write({
      nodeId: id, attributeId: AttributeIds.Value,
      value: { value: { dataType: opcua.DataType[type], value,
        ...(rank ? { arrayType: opcua.VariantArrayType.Array } : {}) } },
    });
    return { status: status.name };
  },

  async subscribe({ ids, interval, queue, deadband, percent }) {
    subscription ||= await session.createSubscription2({
      requestedPublishingInterval: interval || 100, requestedMaxKeepAliveCount: 20, requestedLifetimeCount: 1000,
      maxNotificationsPerPublish: 0, publishingEnabled: true, priority: 1,
    });
    const filter = deadband === undefined ? undefined : new opcua.DataChangeFilter({
      trigger: opcua.DataChangeTrigger.StatusValue, deadbandValue: deadband,
      deadbandType: percent ? opcua.DeadbandType.Percent : opcua.DeadbandType.Absolute,
    });
    const statuses = {};
    for (let at = 0; at < ids.length; at += 5000) {
      const group = opcua.ClientMonitoredItemGroup.create(
        subscription, ids.slice(at, at + 5000).map((nodeId) => ({ nodeId, attributeId: AttributeIds.Value })),
        { samplingInterval: 0, queueSize: queue || 10, discardOldest: true, filter }, opcua.TimestampsToReturn.Both);
      group.on("changed", (item, data) => {
        const id = item.itemToMonitor.nodeId.toString();
        told.has(id) ? told.get(id).push(sample(data)) : told.set(id, [sample(data)]);
      });
      await new Promise((done) => group.on("initialized", done));
      for (const item of group.monitoredItems) {
        const name = (item.statusCode || StatusCodes.Good).name;
        statuses[name] = (statuses[name] || 0) + 1;
      }
    }
    return { statuses };
  },

  /** What the subscription told since the last call. */
  async told({ only }) {
    const answer = only === "count"
      ? { items: told.size, values: [...told.values()].reduce((sum, list) => sum + list.length, 0) }
      : { values: Object.fromEntries(told) };
    if (only !== "count") told.clear();
    return answer;
  },

  async history({ id, start, end, most }) {
    const pages = [];
    let continuationPoint;
    do {
      const request = new opcua.HistoryReadRequest({
        historyReadDetails: new opcua.ReadRawModifiedDetails({
          isReadModified: false, startTime: start && new Date(start), endTime: end && new Date(end),
          numValuesPerNode: most, returnBounds: false,
        }),
        nodesToRead: [{ nodeId: id, continuationPoint }], timestampsToReturn: opcua.TimestampsToReturn.Both,
        releaseContinuationPoints: false,
      });
      const result = (await session.performMessageTransaction(request)).results[0];
      if (!result.statusCode.isGoodish()) return { status: result.statusCode.name, pages };
      pages.push((result.historyData?.dataValues || []).map(sample));
      continuationPoint = result.continuationPoint;
    } while (continuationPoint && continuationPoint.length > 0);
    return { status: "Good", pages };
  },

  /** Subscribes to the events of a node; `fields` are browse paths of BaseEventType and below. */
  async events({ id, fields, interval }) {
    subscription ||= await session.createSubscription2({
      requestedPublishingInterval: interval || 100, requestedMaxKeepAliveCount: 20, requestedLifetimeCount: 1000,
      maxNotificationsPerPublish: 0, publishingEnabled: true, priority: 1,
    });
    const monitor = opcua.ClientMonitoredItem.create(
      subscription, { nodeId: id, attributeId: AttributeIds.EventNotifier },
      { samplingInterval: 0, queueSize: 1000, discardOldest: true, filter: opcua.constructEventFilter(fields) });
    monitor.on("changed", (values) =>
      events.push(Object.fromEntries(fields.map((name, i) => [name, plain(values[i].value)]))));
    await new Promise((done) => monitor.on("initialized", done));
    return { status: (monitor.statusCode || StatusCodes.Good).name };
  },

  async happened() {
    return { events: events.splice(0) };
  },

  async call({ object, method, args }) {
    const result = await session.call({
      objectId: object, methodId: method,
      inputArguments: (args || []).map(([type, value]) => ({
        dataType: opcua.DataType[type],
        value: type === "ByteString" ? Buffer.from(value, "base64")
          : type === "LocalizedText" ? opcua.coerceLocalizedText(value) : value,
      })),
    });
    return { status: result.statusCode.name, outputs: (result.outputArguments || []).map((v) => plain(v.value)) };
  },

  async close() {
    if (session) await session.close();
    if (client) await client.disconnect();
    if (listener) await listener.stop();
    listener = undefined;
    session = client = subscription = undefined;
    told.clear();
    return {};
  },
};

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { do: what, ...given } = JSON.parse(line);
    let answer;
    try {
      answer = await commands[what](given);
    } catch (error) {
      answer = { error: String(error.response?.responseHeader?.serviceResult?.name || error.message || error) };
    }
    process.stdout.write(JSON.stringify(answer) + "\n");
  }
  process.exit(0);
}

main();
