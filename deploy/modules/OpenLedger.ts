import { buildModule } from "@nomicfoundation/hardhat-ignition/modules";

/**
 * All contracts and their wiring. Nothing is upgradable and nobody owns the core: each `wire` works once, for the
 * deployer; the parameters belong to the timelock. `checkDeployment` asserts the result.
 */
export default buildModule("OpenLedger", (m) => {
  const windows = m.getParameter("windows");
  const holder = m.getParameter<string>("holder");
  const proposer = m.getParameter<string>("proposer");

  const token = m.contract("OpenToken", [holder]);

  // Whoever proposes may cancel; anyone may execute what has waited long enough; nobody administers.
  const anyone = "0x0000000000000000000000000000000000000000";
  const timelock = m.contract("ProtocolTimelock", [m.getParameter("timelockDelay"), [proposer], [anyone], windows]);
  const parameters = m.contract("ProtocolParameters", [timelock, m.getParameter("initialParameters"), windows]);

  const allocator = m.contract("IdAllocator");
  const dataNets = m.contract("DataNetRegistry", [allocator]);
  const adapters = m.contract("AdapterRegistry", [allocator, dataNets]);
  const prompts = m.contract("PromptRegistry", [allocator]);
  const tools = m.contract("ToolRegistry", [allocator]);
  const agents = m.contract("AgentRegistry", [allocator, { dataNets, adapters, prompts, tools }]);
  m.call(allocator, "wire", [[dataNets, adapters, prompts, tools, agents]]);

  const operators = m.contract("OperatorRegistry", [token, windows]);
  const channels = m.contract("PaymentChannels", [token, operators, windows]);
  const verifier = m.contract("ReceiptVerifier", [agents, adapters, dataNets, channels, parameters, windows]);
  const settlement = m.contract("AttributionSettlement", [
    token,
    allocator,
    operators,
    channels,
    parameters,
    verifier,
    windows,
  ]);
  m.call(operators, "wire", [settlement]);
  m.call(channels, "wire", [settlement]);

  return {
    token,
    timelock,
    parameters,
    allocator,
    dataNets,
    adapters,
    prompts,
    tools,
    agents,
    operators,
    channels,
    verifier,
    settlement,
  };
});
