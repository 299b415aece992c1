// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IContribution721} from "../../../contracts/registries/IContribution721.sol";
import {IPromptRegistry} from "../../../contracts/registries/IPromptRegistry.sol";
import {IToolRegistry} from "../../../contracts/registries/IToolRegistry.sol";
import {IVersioned721} from "../../../contracts/registries/IVersioned721.sol";
import {Registries} from "./Registries.sol";

contract PromptAndToolRegistryTest is Registries {
    function setUp() public {
        deployRegistries();
    }

    function test_APromptGrowsByVersions() public {
        uint32 id = registerPrompt(ALICE, nobody());
        assertEq(prompts.headOf(id), 1, "head");
        vm.warp(vm.getBlockTimestamp() + 7);
        vm.prank(ALICE);
        vm.expectEmit(address(prompts));
        emit IVersioned721.VersionPublished(id, 2, bytes32(uint256(30)), "uri2");
        vm.expectEmit(address(prompts));
        emit IPromptRegistry.PromptVersionPublished(id, 2, new string[](3));
        prompts.publishVersion(id, bytes32(uint256(30)), new string[](3), "uri2");
        (bytes32 contentHash, uint40 publishedAt) = prompts.versionOf(id, 2);
        assertEq(contentHash, bytes32(uint256(30)), "content");
        assertEq(publishedAt, vm.getBlockTimestamp(), "time");
        assertEq(bytes(prompts.tokenURI(id)), "uri2", "uri");
        (contentHash, publishedAt) = prompts.versionOf(id, 3);
        assertTrue(contentHash == 0 && publishedAt == 0, "no third");
    }

    function test_AToolGrowsByVersions() public {
        uint32 id = registerTool(ALICE);
        assertEq(tools.headOf(id), 1, "head");
        vm.prank(ALICE);
        vm.expectEmit(address(tools));
        emit IVersioned721.VersionPublished(id, 2, bytes32(uint256(40)), "uri2");
        vm.expectEmit(address(tools));
        emit IToolRegistry.ToolVersionPublished(id, 2, "https://elsewhere");
        tools.publishVersion(id, bytes32(uint256(40)), "https://elsewhere", "uri2");
        assertEq(tools.contentHashOf(id), bytes32(uint256(40)), "content");
        assertEq(tools.headOf(id), 2, "head");
    }

    function test_RevertWhen_NotTheOwnerPublishes() public {
        uint32 prompt = registerPrompt(ALICE, nobody());
        uint32 tool = registerTool(ALICE);
        vm.startPrank(BOB);
        vm.expectRevert(abi.encodeWithSelector(IContribution721.Contribution_NotOwner.selector, prompt, BOB));
        prompts.publishVersion(prompt, bytes32(uint256(1)), new string[](0), "uri");
        vm.expectRevert(abi.encodeWithSelector(IContribution721.Contribution_NotOwner.selector, tool, BOB));
        tools.publishVersion(tool, bytes32(uint256(1)), "https://tool", "uri");
        // A tool's id means nothing to the prompts.
        vm.expectRevert(abi.encodeWithSelector(IContribution721.Contribution_Unknown.selector, tool));
        prompts.publishVersion(tool, bytes32(uint256(1)), new string[](0), "uri");
        vm.stopPrank();
    }

    function test_RevertWhen_AVersionHasNoContent() public {
        uint32 prompt = registerPrompt(ALICE, nobody());
        vm.prank(ALICE);
        vm.expectRevert(IContribution721.Contribution_NoContent.selector);
        prompts.publishVersion(prompt, 0, new string[](0), "uri");
    }

    function test_RevertWhen_AnEndpointIsTooLong() public {
        vm.expectRevert(abi.encodeWithSelector(IContribution721.Contribution_TextTooLong.selector, 1025, 1024));
        tools.register("tool", bytes32(uint256(4)), string(new bytes(1025)), "uri", "MIT", nobody());
    }
}
