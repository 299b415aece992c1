// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IAgentRegistry} from "../../../contracts/registries/IAgentRegistry.sol";
import {LineageEntry} from "../../../contracts/registries/IAdapterRegistry.sol";
import {IContribution721} from "../../../contracts/registries/IContribution721.sol";
import {IVersioned721} from "../../../contracts/registries/IVersioned721.sol";
import {CompositionCodec} from "../../../contracts/settlement/libraries/CompositionCodec.sol";
import {Registries} from "./Registries.sol";

contract AgentRegistryTest is Registries {
    uint32 private _agent;
    uint32 private _net;
    uint32 private _adapter;
    uint32 private _prompt;
    uint32 private _tool;

    function setUp() public {
        deployRegistries();
        _agent = createAgent(ALICE);
        _net = dataNetWithVersions(BOB, 2);
        _adapter = registerAdapter(BOB, new LineageEntry[](0));
        _prompt = registerPrompt(BOB, nobody());
        _tool = registerTool(BOB);
    }

    /// @dev One member of each class, as id and version.
    function _composition(
        uint32[2] memory prompt,
        uint32[2] memory adapter,
        uint32[2] memory dataNet,
        uint32[2] memory tool
    ) private pure returns (bytes memory) {
        bytes memory head = bytes.concat(
            abi.encodePacked(uint8(1), bytes32(uint256(0xBA5E)), uint96(1e15), uint64(1e9), uint64(3e9)),
            abi.encodePacked(uint32(300_000), uint32(100_000), uint32(100_000), uint32(100_000)),
            abi.encodePacked(uint32(200_000), uint32(100_000), uint32(100_000)),
            abi.encodePacked(uint24(0), uint16(0), uint8(1), uint8(1), uint8(1))
        );
        return
            bytes.concat(
                head,
                abi.encodePacked(prompt[0], prompt[1], adapter[0], adapter[1], uint32(1_000_000), uint32(1_000_000)),
                abi.encodePacked(dataNet[0], dataNet[1], tool[0], tool[1])
            );
    }

    function _valid() private view returns (bytes memory) {
        return _composition([_prompt, 1], [_adapter, 1], [_net, 2], [_tool, 1]);
    }

    function _publish(bytes memory composition) private returns (uint32) {
        vm.prank(ALICE);
        return agents.publishVersion(_agent, composition);
    }

    function test_AnAgentStartsWithoutVersions() public view {
        assertEq(agents.headOf(_agent), 0, "head");
        assertEq(agents.contentHashOf(_agent), bytes32(uint256(7)), "content");
        (bytes32 compositionHash, uint40 publishedAt) = agents.versionOf(_agent, 0);
        assertTrue(compositionHash == 0 && publishedAt == 0, "no version 0");
    }

    function test_AVersionPinsItsComposition() public {
        bytes memory composition = _valid();
        vm.expectEmit(address(agents));
        emit IVersioned721.VersionPublished(_agent, 1, keccak256(abi.encodePacked(uint8(8), composition)), "");
        vm.expectEmit(address(agents));
        emit IAgentRegistry.CompositionPublished(_agent, 1, composition);
        assertEq(_publish(composition), 1, "version");
        (bytes32 compositionHash, uint40 publishedAt) = agents.versionOf(_agent, 1);
        assertEq(compositionHash, keccak256(abi.encodePacked(uint8(8), composition)), "hash");
        assertEq(publishedAt, vm.getBlockTimestamp(), "time");
        assertEq(bytes(agents.tokenURI(_agent)), "ipfs://agent", "uri stays");
        assertEq(_publish(composition), 2, "next version");
    }

    function test_AnAgentMayDoWithoutAnyPart() public {
        bytes memory composition = bytes.concat(
            abi.encodePacked(uint8(1), bytes32(uint256(0xBA5E)), uint96(1e15), uint64(1e9), uint64(3e9)),
            abi.encodePacked(uint32(600_000), uint32(400_000), uint160(0)),
            abi.encodePacked(uint24(0), uint16(0), uint24(0), uint64(0))
        );
        assertEq(_publish(composition), 1, "version");
    }

    function test_RevertWhen_ThePromptVersionDoesNotExist() public {
        vm.expectRevert(
            abi.encodeWithSelector(IAgentRegistry.Agent_UnknownVersion.selector, address(prompts), _prompt, 2)
        );
        _publish(_composition([_prompt, 2], [_adapter, 1], [_net, 1], [_tool, 1]));
        vm.expectRevert(
            abi.encodeWithSelector(IAgentRegistry.Agent_UnknownVersion.selector, address(prompts), _prompt, 0)
        );
        _publish(_composition([_prompt, 0], [_adapter, 1], [_net, 1], [_tool, 1]));
        // What exists, but is a tool.
        vm.expectRevert(
            abi.encodeWithSelector(IAgentRegistry.Agent_UnknownVersion.selector, address(prompts), _tool, 1)
        );
        _publish(_composition([_tool, 1], [_adapter, 1], [_net, 1], [_tool, 1]));
    }

    function test_RevertWhen_AnAdapterVersionDoesNotExist() public {
        vm.expectRevert(
            abi.encodeWithSelector(IAgentRegistry.Agent_UnknownVersion.selector, address(adapters), _adapter, 2)
        );
        _publish(_composition([_prompt, 1], [_adapter, 2], [_net, 1], [_tool, 1]));
    }

    function test_RevertWhen_ADataNetVersionDoesNotExist() public {
        vm.expectRevert(
            abi.encodeWithSelector(IAgentRegistry.Agent_UnknownVersion.selector, address(dataNets), _net, 3)
        );
        _publish(_composition([_prompt, 1], [_adapter, 1], [_net, 3], [_tool, 1]));
    }

    function test_RevertWhen_AToolVersionDoesNotExist() public {
        vm.expectRevert(abi.encodeWithSelector(IAgentRegistry.Agent_UnknownVersion.selector, address(tools), 0, 1));
        _publish(_composition([_prompt, 1], [_adapter, 1], [_net, 1], [uint32(0), 1]));
    }

    function test_RevertWhen_TheBytesAreNoComposition() public {
        vm.expectRevert(
            abi.encodeWithSelector(IAgentRegistry.Agent_InvalidComposition.selector, CompositionCodec.Fault.Length)
        );
        _publish(hex"01");
        bytes memory composition = _valid();
        composition[64] = bytes1(uint8(composition[64]) + 1);
        vm.expectRevert(
            abi.encodeWithSelector(IAgentRegistry.Agent_InvalidComposition.selector, CompositionCodec.Fault.Split)
        );
        _publish(composition);
    }

    /// @dev No byte can be changed without changing the hash, and no random bytes pass for a composition.
    function testFuzz_RandomBytesAreNoComposition(bytes memory composition) public {
        vm.prank(ALICE);
        try agents.publishVersion(_agent, composition) {
            assertTrue(false, "published");
        } catch (bytes memory reason) {
            assertEq(bytes32(bytes4(reason)), bytes32(IAgentRegistry.Agent_InvalidComposition.selector), "error");
        }
    }

    function test_RevertWhen_NotTheOwnerPublishes() public {
        bytes memory composition = _valid();
        vm.prank(BOB);
        vm.expectRevert(abi.encodeWithSelector(IContribution721.Contribution_NotOwner.selector, _agent, BOB));
        agents.publishVersion(_agent, composition);
    }
}
