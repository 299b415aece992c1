// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {AdapterRegistry} from "../../../contracts/registries/AdapterRegistry.sol";
import {AgentParts, AgentRegistry} from "../../../contracts/registries/AgentRegistry.sol";
import {DataNetRegistry} from "../../../contracts/registries/DataNetRegistry.sol";
import {AdapterVersion, LineageEntry} from "../../../contracts/registries/IAdapterRegistry.sol";
import {IdAllocator} from "../../../contracts/registries/IdAllocator.sol";
import {Payee} from "../../../contracts/registries/PayeesLib.sol";
import {PromptRegistry} from "../../../contracts/registries/PromptRegistry.sol";
import {ToolRegistry} from "../../../contracts/registries/ToolRegistry.sol";
import {TestBase} from "../TestBase.sol";

/// @notice All registries, wired, and one person to own things.
abstract contract Registries is TestBase {
    address internal constant ALICE = address(0xA11CE);
    address internal constant BOB = address(0xB0B);
    address internal constant CAROL = address(0xCA401);

    IdAllocator internal allocator;
    DataNetRegistry internal dataNets;
    AdapterRegistry internal adapters;
    PromptRegistry internal prompts;
    ToolRegistry internal tools;
    AgentRegistry internal agents;

    function deployRegistries() internal {
        vm.warp(1_700_000_000);
        allocator = new IdAllocator();
        dataNets = new DataNetRegistry(allocator);
        adapters = new AdapterRegistry(allocator, dataNets);
        prompts = new PromptRegistry(allocator);
        tools = new ToolRegistry(allocator);
        agents = new AgentRegistry(allocator, AgentParts(dataNets, adapters, prompts, tools));
        address[] memory registries = new address[](5);
        registries[0] = address(dataNets);
        registries[1] = address(adapters);
        registries[2] = address(prompts);
        registries[3] = address(tools);
        registries[4] = address(agents);
        allocator.wire(registries);
    }

    function createDataNet(address owner) internal returns (uint32) {
        vm.prank(owner);
        return dataNets.createDataNet("net", bytes32(uint256(1)), "ipfs://net", "CC-BY-4.0", nobody());
    }

    /// @dev A DataNet with versions 1 to `versions`.
    function dataNetWithVersions(address owner, uint256 versions) internal returns (uint32 dataNet) {
        dataNet = createDataNet(owner);
        for (uint256 i; i < versions; ++i) {
            vm.prank(owner);
            dataNets.publishVersion(dataNet);
        }
    }

    function submit(address owner, uint32 dataNet) internal returns (uint32) {
        vm.prank(owner);
        return dataNets.submit(dataNet, bytes32(uint256(2)), "ipfs://data", "CC0-1.0", 3, 4000, nobody());
    }

    function registerPrompt(address owner, Payee[] memory payees) internal returns (uint32) {
        vm.prank(owner);
        return prompts.register("prompt", bytes32(uint256(3)), new string[](1), "ipfs://prompt", "MIT", payees);
    }

    function registerTool(address owner) internal returns (uint32) {
        vm.prank(owner);
        return tools.register("tool", bytes32(uint256(4)), "https://tool", "ipfs://tool", "MIT", nobody());
    }

    function adapterVersion(LineageEntry[] memory lineage) internal pure returns (AdapterVersion memory) {
        return AdapterVersion(bytes32(uint256(5)), bytes32(uint256(6)), 16, "q_proj,v_proj", lineage);
    }

    function registerAdapter(address owner, LineageEntry[] memory lineage) internal returns (uint32) {
        vm.prank(owner);
        return adapters.register("adapter", adapterVersion(lineage), "ipfs://adapter", "Apache-2.0", nobody());
    }

    function createAgent(address owner) internal returns (uint32) {
        vm.prank(owner);
        return agents.create("agent", bytes32(uint256(7)), "ipfs://agent", "MIT", nobody());
    }

    function nobody() internal pure returns (Payee[] memory) {
        return new Payee[](0);
    }

    function payees2(address a, uint32 shareA, address b, uint32 shareB) internal pure returns (Payee[] memory list) {
        list = new Payee[](2);
        list[0] = Payee(a, shareA);
        list[1] = Payee(b, shareB);
    }

    function ids1(uint32 id) internal pure returns (uint32[] memory ids) {
        ids = new uint32[](1);
        ids[0] = id;
    }
}
