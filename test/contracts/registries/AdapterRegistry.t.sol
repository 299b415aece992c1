// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {AdapterVersion, IAdapterRegistry, LineageEntry} from "../../../contracts/registries/IAdapterRegistry.sol";
import {IContribution721} from "../../../contracts/registries/IContribution721.sol";
import {Registries} from "./Registries.sol";

contract AdapterRegistryTest is Registries {
    uint32 private _net;

    function setUp() public {
        deployRegistries();
        _net = dataNetWithVersions(ALICE, 9);
    }

    /// @dev Versions 1 to `count` of the one DataNet.
    function _lineage(uint256 count) private view returns (LineageEntry[] memory lineage) {
        lineage = new LineageEntry[](count);
        for (uint32 i; i < count; ++i) lineage[i] = LineageEntry(_net, i + 1);
    }

    function _register(AdapterVersion memory version) private returns (uint32) {
        vm.prank(ALICE);
        return adapters.register("adapter", version, "uri", "MIT", nobody());
    }

    function test_TheFirstVersionComesWithTheRegistration() public {
        uint32 id = registerAdapter(ALICE, _lineage(2));
        assertEq(adapters.headOf(id), 1, "head");
        (bytes32 contentHash, uint40 publishedAt) = adapters.versionOf(id, 1);
        assertEq(contentHash, bytes32(uint256(6)), "weights");
        assertEq(publishedAt, vm.getBlockTimestamp(), "time");
        assertEq(adapters.contentHashOf(id), bytes32(uint256(6)), "content");
        (bytes32 baseModel, uint16 rank, string memory modules) = adapters.adapterOf(id, 1);
        assertEq(baseModel, bytes32(uint256(5)), "base model");
        assertEq(rank, 16, "rank");
        assertEq(bytes(modules), "q_proj,v_proj", "modules");
    }

    function testFuzz_TheLineageIsWhatWasGivenAndZerosBeyond(uint8 count, uint256 beyond) public {
        uint256 length = bound(count, 0, 8);
        uint32 id = registerAdapter(ALICE, _lineage(length));
        for (uint256 i; i < 8; ++i) {
            (uint32 dataNet, uint32 version) = adapters.lineageAt(id, 1, i);
            assertEq(dataNet, i < length ? _net : 0, "dataNet");
            assertEq(version, i < length ? i + 1 : 0, "version");
        }
        (uint32 a, uint32 b) = adapters.lineageAt(id, 1, bound(beyond, length, type(uint256).max));
        assertTrue(a == 0 && b == 0, "beyond");
        (a, b) = adapters.lineageAt(id, 2, 0);
        assertTrue(a == 0 && b == 0, "other version");
        (a, b) = adapters.lineageAt(_net, 1, 0);
        assertTrue(a == 0 && b == 0, "other id");
    }

    function test_ALaterVersionLeavesTheEarlierOnesAsTheyWere() public {
        uint32 id = registerAdapter(ALICE, _lineage(8));
        AdapterVersion memory next = adapterVersion(_lineage(1));
        next.weightsHash = bytes32(uint256(60));
        vm.warp(vm.getBlockTimestamp() + 5);
        vm.prank(ALICE);
        assertEq(adapters.publishVersion(id, next, "uri2"), 2, "version");
        assertEq(adapters.contentHashOf(id), bytes32(uint256(60)), "newest");
        assertEq(bytes(adapters.tokenURI(id)), "uri2", "uri");
        (bytes32 first, uint40 publishedAt) = adapters.versionOf(id, 1);
        assertEq(first, bytes32(uint256(6)), "first");
        assertEq(publishedAt, vm.getBlockTimestamp() - 5, "first's time");
        (, uint32 version) = adapters.lineageAt(id, 1, 7);
        assertEq(version, 8, "first's lineage");
        (, version) = adapters.lineageAt(id, 2, 1);
        assertEq(version, 0, "second's lineage");
    }

    function test_RevertWhen_TheLineageIsTooLong() public {
        AdapterVersion memory version = adapterVersion(_lineage(9));
        vm.expectRevert(abi.encodeWithSelector(IAdapterRegistry.Adapter_LineageTooLong.selector, 9, 8));
        _register(version);
    }

    function test_RevertWhen_TheLineageNamesWhatDoesNotExist() public {
        AdapterVersion memory version = adapterVersion(_lineage(2));
        version.lineage[1].version = 10;
        vm.expectRevert(abi.encodeWithSelector(IAdapterRegistry.Adapter_UnknownLineage.selector, 1, _net, 10));
        _register(version);
        version.lineage[1].version = 0;
        vm.expectRevert(abi.encodeWithSelector(IAdapterRegistry.Adapter_UnknownLineage.selector, 1, _net, 0));
        _register(version);
        version.lineage[1] = LineageEntry(999, 1);
        vm.expectRevert(abi.encodeWithSelector(IAdapterRegistry.Adapter_UnknownLineage.selector, 1, 999, 1));
        _register(version);
        // Data contributed to a DataNet are no DataNet.
        uint32 data = submit(BOB, _net);
        version.lineage[1] = LineageEntry(data, 1);
        vm.expectRevert(abi.encodeWithSelector(IAdapterRegistry.Adapter_UnknownLineage.selector, 1, data, 1));
        _register(version);
    }

    function test_RevertWhen_SomethingIsMissing() public {
        AdapterVersion memory version = adapterVersion(_lineage(0));
        version.baseModel = 0;
        vm.expectRevert(IAdapterRegistry.Adapter_NoBaseModel.selector);
        _register(version);
        version = adapterVersion(_lineage(0));
        version.rank = 0;
        vm.expectRevert(IAdapterRegistry.Adapter_NoRank.selector);
        _register(version);
        version = adapterVersion(_lineage(0));
        version.weightsHash = 0;
        vm.expectRevert(IContribution721.Contribution_NoContent.selector);
        _register(version);
        version = adapterVersion(_lineage(0));
        version.targetModules = string(new bytes(1025));
        vm.expectRevert(abi.encodeWithSelector(IContribution721.Contribution_TextTooLong.selector, 1025, 1024));
        _register(version);
    }

    function test_RevertWhen_NotTheOwnerPublishes() public {
        uint32 id = registerAdapter(ALICE, _lineage(0));
        vm.prank(BOB);
        vm.expectRevert(abi.encodeWithSelector(IContribution721.Contribution_NotOwner.selector, id, BOB));
        adapters.publishVersion(id, adapterVersion(_lineage(0)), "uri");
    }
}
