// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IdAllocator} from "../../../contracts/registries/IdAllocator.sol";
import {IIdAllocator} from "../../../contracts/registries/IIdAllocator.sol";
import {TestBase} from "../TestBase.sol";

/// @notice Something that may be named as a registry.
contract Asker {
    IIdAllocator private immutable _ALLOCATOR;

    constructor(IIdAllocator allocator) {
        _ALLOCATOR = allocator;
    }

    function ask() external returns (uint32) {
        return _ALLOCATOR.allocate();
    }
}

contract IdAllocatorTest is TestBase {
    IdAllocator private _allocator;
    Asker private _first;
    Asker private _second;

    function setUp() public {
        _allocator = new IdAllocator();
        _first = new Asker(_allocator);
        _second = new Asker(_allocator);
    }

    function _both() private view returns (address[] memory list) {
        list = new address[](2);
        list[0] = address(_first);
        list[1] = address(_second);
    }

    function test_IdsAreHandedOutInOrderFromOneAcrossRegistries() public {
        _allocator.wire(_both());
        assertEq(_allocator.lastId(), 0, "before");
        assertEq(_first.ask(), 1, "first");
        assertEq(_second.ask(), 2, "second");
        assertEq(_first.ask(), 3, "third");
        assertEq(_allocator.lastId(), 3, "after");
    }

    function testFuzz_EachIdKnowsItsRegistry(uint256 choices, uint32 unknown) public {
        _allocator.wire(_both());
        for (uint256 i; i < 70; ++i) {
            (choices >> i) & 1 == 0 ? _first.ask() : _second.ask();
        }
        for (uint32 id = 1; id <= 70; ++id) {
            address expected = (choices >> (id - 1)) & 1 == 0 ? address(_first) : address(_second);
            assertEq(_allocator.registryOf(id), expected, "registry");
        }
        unknown = uint32(bound(unknown, 71, type(uint32).max));
        assertEq(_allocator.registryOf(unknown), address(0), "unknown");
        assertEq(_allocator.registryOf(0), address(0), "none");
    }

    function test_TheRegistriesAreListedInOrder() public {
        assertEq(_allocator.registries().length, 0, "before");
        _allocator.wire(_both());
        assertEq(_allocator.registries()[0], address(_first), "first");
        assertEq(_allocator.registries()[1], address(_second), "second");
    }

    function test_RevertWhen_AStrangerAsksForAnId() public {
        _allocator.wire(_both());
        vm.expectRevert(abi.encodeWithSelector(IIdAllocator.IdAllocator_NotRegistry.selector, address(this)));
        _allocator.allocate();
    }

    function test_RevertWhen_ARegistryAsksBeforeItIsNamed() public {
        vm.expectRevert(abi.encodeWithSelector(IIdAllocator.IdAllocator_NotRegistry.selector, address(_first)));
        _first.ask();
    }

    function test_RevertWhen_SealedAlready() public {
        _allocator.wire(_both());
        vm.expectRevert(IIdAllocator.IdAllocator_AlreadySealed.selector);
        _allocator.wire(_both());
    }

    function test_RevertWhen_NotTheDeployerNamesTheRegistries() public {
        vm.prank(address(1));
        vm.expectRevert(abi.encodeWithSelector(IIdAllocator.IdAllocator_NotDeployer.selector, address(1)));
        _allocator.wire(_both());
    }

    function test_RevertWhen_NoOrTooManyRegistriesAreNamed() public {
        vm.expectRevert(abi.encodeWithSelector(IIdAllocator.IdAllocator_RegistryCount.selector, 0));
        _allocator.wire(new address[](0));
        vm.expectRevert(abi.encodeWithSelector(IIdAllocator.IdAllocator_RegistryCount.selector, 256));
        _allocator.wire(new address[](256));
    }

    function test_RevertWhen_ARegistryIsNoContractOrNamedTwice() public {
        address[] memory list = _both();
        list[1] = address(0xdead);
        vm.expectRevert(abi.encodeWithSelector(IIdAllocator.IdAllocator_InvalidRegistry.selector, address(0xdead)));
        _allocator.wire(list);
        list[1] = list[0];
        vm.expectRevert(abi.encodeWithSelector(IIdAllocator.IdAllocator_InvalidRegistry.selector, list[0]));
        _allocator.wire(list);
    }
}
