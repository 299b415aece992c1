import { buildModule } from "@nomicfoundation/hardhat-ignition/modules";
import openLedger from "./OpenLedger.ts";

/** All contracts, and the faucet that test networks have beside them. */
export default buildModule("TestNetwork", (m) => {
  const contracts = m.useModule(openLedger);
  return { ...contracts, faucet: m.contract("TestFaucet", [contracts.token, m.getParameter("drip")]) };
});
