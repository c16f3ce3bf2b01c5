// A node-opcua server of the same variables as the bench's gateway: PORT and number of tags as arguments.
"use strict";
const opcua = require("node-opcua");

(async () => {
    const [port, tags] = process.argv.slice(2).map(Number);
    const server = new opcua.OPCUAServer({
        port,
        resourcePath: "/",
        securityPolicies: [opcua.SecurityPolicy.None],
        securityModes: [opcua.MessageSecurityMode.None],
        allowAnonymous: true,
        serverCapabilities: {
            maxMonitoredItems: 1e6,
            maxMonitoredItemsPerSubscription: 1e6,
            operationLimits: { maxNodesPerRead: 10000, maxMonitoredItemsPerCall: 10000 },
        },
    });
    await server.initialize();
    const space = server.engine.addressSpace;
    const own = space.registerNamespace("urn:bench");
    const plc = own.addObject({ organizedBy: space.rootFolder.objects, browseName: "plc", nodeId: "s=plc" });
    const variables = [];
    for (let n = 0; n < tags; n++) {
        variables.push(own.addVariable({
            componentOf: plc,
            browseName: `t${n}`,
            nodeId: `s=plc/t${n}`,
            dataType: "UInt32",
            minimumSamplingInterval: 0,
            value: { dataType: "UInt32", value: 0 },
        }));
    }
    await server.start();
    console.log("ready");
    let count = 0;
    setInterval(() => {
        count += 1;
        for (const variable of variables) {
            variable.setValueFromSource({ dataType: "UInt32", value: count });
        }
    }, 1000);
})();
