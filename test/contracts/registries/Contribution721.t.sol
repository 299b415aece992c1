// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IERC165} from "@openzeppelin/contracts/utils/introspection/IERC165.sol";
import {IERC721} from "@openzeppelin/contracts/token/ERC721/IERC721.sol";
import {IERC721Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {Contribution721} from "../../../contracts/registries/Contribution721.sol";
import {IContribution721} from "../../../contracts/registries/IContribution721.sol";
import {Payee, PayeesLib} from "../../../contracts/registries/PayeesLib.sol";
import {Registries} from "./Registries.sol";

/// @notice What all registries share, on the prompts.
contract Contribution721Test is Registries {
    bytes32 private constant _OWNER_ALONE = bytes32(0);

    function setUp() public {
        deployRegistries();
    }

    function _hash(Payee[] memory payees) private pure returns (bytes32) {
        return keccak256(abi.encode(payees));
    }

    // Registration

    function test_ARegistrationIsAToken() public {
        uint32 id = registerPrompt(ALICE, nobody());
        assertEq(prompts.ownerOf(id), ALICE, "owner");
        assertEq(bytes(prompts.tokenURI(id)), "ipfs://prompt", "uri");
        assertEq(bytes(prompts.licenceOf(id)), "MIT", "licence");
        assertEq(prompts.contentHashOf(id), bytes32(uint256(3)), "content");
        assertEq(allocator.registryOf(id), address(prompts), "registry");
        assertEq(address(prompts.ALLOCATOR()), address(allocator), "allocator");
    }

    function test_AnUnknownIdHasNothing() public {
        assertEq(prompts.contentHashOf(9), 0, "content");
        assertEq(bytes(prompts.licenceOf(9)), "", "licence");
        assertEq(prompts.payeesHashOf(9), 0, "payees");
        vm.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721NonexistentToken.selector, 9));
        prompts.tokenURI(9);
    }

    function test_ItSaysWhatItSupports() public view {
        assertTrue(prompts.supportsInterface(type(IContribution721).interfaceId), "contribution");
        assertTrue(prompts.supportsInterface(type(IERC721).interfaceId), "721");
        assertTrue(prompts.supportsInterface(type(IERC165).interfaceId), "165");
        assertFalse(prompts.supportsInterface(0xffffffff), "none");
    }

    function test_RevertWhen_ThereIsNoContent() public {
        vm.expectRevert(IContribution721.Contribution_NoContent.selector);
        prompts.register("prompt", 0, new string[](0), "uri", "MIT", nobody());
    }

    function test_RevertWhen_ATextIsTooLong() public {
        string memory long = string(new bytes(129));
        vm.expectRevert(abi.encodeWithSelector(IContribution721.Contribution_TextTooLong.selector, 129, 128));
        prompts.register(long, bytes32(uint256(1)), new string[](0), "uri", "MIT", nobody());
        vm.expectRevert(abi.encodeWithSelector(IContribution721.Contribution_TextTooLong.selector, 129, 128));
        prompts.register("prompt", bytes32(uint256(1)), new string[](0), "uri", long, nobody());
        vm.expectRevert(abi.encodeWithSelector(IContribution721.Contribution_TextTooLong.selector, 1025, 1024));
        prompts.register("prompt", bytes32(uint256(1)), new string[](0), string(new bytes(1025)), "MIT", nobody());
        prompts.register(
            string(new bytes(128)),
            bytes32(uint256(1)),
            new string[](0),
            string(new bytes(1024)),
            string(new bytes(128)),
            nobody()
        );
    }

    // Payees

    function test_TheFirstListHoldsAtOnce() public {
        Payee[] memory list = payees2(BOB, 400_000, CAROL, 600_000);
        uint32 id = registerPrompt(ALICE, list);
        assertEq(prompts.payeesHashOf(id), _hash(list), "payees");
        (bytes32 pending, uint40 effectiveAt) = prompts.pendingPayeesOf(id);
        assertEq(pending, 0, "pending");
        assertEq(effectiveAt, 0, "effective");
    }

    function test_ANewListHoldsAfterSevenDays() public {
        Payee[] memory first = payees2(BOB, 400_000, CAROL, 600_000);
        Payee[] memory second = payees2(BOB, 1, CAROL, 999_999);
        uint32 id = registerPrompt(ALICE, first);
        vm.prank(ALICE);
        prompts.setPayees(id, second);
        (bytes32 pending, uint40 effectiveAt) = prompts.pendingPayeesOf(id);
        assertEq(pending, _hash(second), "pending");
        assertEq(effectiveAt, vm.getBlockTimestamp() + 7 days, "effective");

        vm.warp(effectiveAt - 1);
        assertEq(prompts.payeesHashOf(id), _hash(first), "before");
        vm.warp(effectiveAt);
        assertEq(prompts.payeesHashOf(id), _hash(second), "after");
        (pending, effectiveAt) = prompts.pendingPayeesOf(id);
        assertEq(pending, 0, "nothing pending");
        assertEq(effectiveAt, 0, "no time");
    }

    function test_AListChangedRightBeforeAClaimDoesNotCount() public {
        Payee[] memory first = payees2(BOB, 500_000, CAROL, 500_000);
        uint32 id = registerPrompt(ALICE, first);
        vm.prank(ALICE);
        prompts.setPayees(id, nobody());
        assertEq(prompts.payeesHashOf(id), _hash(first), "payees at the claim");
    }

    function test_AnotherListReplacesWhatIsAnnouncedAndStartsTheDelayAnew() public {
        uint32 id = registerPrompt(ALICE, nobody());
        Payee[] memory second = payees2(BOB, 1, CAROL, 999_999);
        vm.prank(ALICE);
        prompts.setPayees(id, payees2(BOB, 500_000, CAROL, 500_000));
        vm.warp(vm.getBlockTimestamp() + 6 days);
        vm.prank(ALICE);
        prompts.setPayees(id, second);
        vm.warp(vm.getBlockTimestamp() + 2 days);
        assertEq(prompts.payeesHashOf(id), _OWNER_ALONE, "still the first");
        vm.warp(vm.getBlockTimestamp() + 5 days);
        assertEq(prompts.payeesHashOf(id), _hash(second), "then the second");
    }

    function test_AListThatIsDueIsWhatTheNextOneReplaces() public {
        uint32 id = registerPrompt(ALICE, nobody());
        Payee[] memory second = payees2(BOB, 1, CAROL, 999_999);
        vm.prank(ALICE);
        prompts.setPayees(id, second);
        vm.warp(vm.getBlockTimestamp() + 8 days);
        vm.prank(ALICE);
        prompts.setPayees(id, nobody());
        assertEq(prompts.payeesHashOf(id), _hash(second), "due one stays in force");
        vm.warp(vm.getBlockTimestamp() + 7 days);
        assertEq(prompts.payeesHashOf(id), _OWNER_ALONE, "owner alone");
    }

    function test_ATransferWithoutAListHandsTheEarningsOverAtOnce() public {
        uint32 id = registerPrompt(ALICE, nobody());
        vm.prank(ALICE);
        prompts.transferFrom(ALICE, BOB, id);
        assertEq(prompts.payeesHashOf(id), _OWNER_ALONE, "owner alone");
        assertEq(prompts.ownerOf(id), BOB, "owner");
    }

    function test_ATransferCancelsWhatIsAnnounced() public {
        uint32 id = registerPrompt(ALICE, nobody());
        vm.prank(ALICE);
        prompts.setPayees(id, payees2(ALICE, 500_000, CAROL, 500_000));
        vm.prank(ALICE);
        prompts.transferFrom(ALICE, BOB, id);
        (, uint40 effectiveAt) = prompts.pendingPayeesOf(id);
        assertEq(effectiveAt, 0, "cancelled");
        vm.warp(vm.getBlockTimestamp() + 30 days);
        assertEq(prompts.payeesHashOf(id), _OWNER_ALONE, "owner alone");
    }

    function test_ATransferResetsAListAfterTheDelayAndCancelsWhatIsAnnounced() public {
        Payee[] memory first = payees2(BOB, 400_000, CAROL, 600_000);
        uint32 id = registerPrompt(ALICE, first);
        vm.prank(ALICE);
        prompts.setPayees(id, payees2(ALICE, 500_000, CAROL, 500_000));
        vm.warp(vm.getBlockTimestamp() + 3 days);
        vm.prank(ALICE);
        prompts.transferFrom(ALICE, BOB, id);
        uint256 transferredAt = vm.getBlockTimestamp();

        vm.warp(transferredAt + 7 days - 1);
        assertEq(prompts.payeesHashOf(id), _hash(first), "those who leave can still claim");
        vm.warp(transferredAt + 7 days);
        assertEq(prompts.payeesHashOf(id), _OWNER_ALONE, "the new owner alone");
        vm.warp(transferredAt + 30 days);
        assertEq(prompts.payeesHashOf(id), _OWNER_ALONE, "for good");
    }

    function test_AnOwnerCannotTakeWhatItsPayeesEarnedByATransferToItself() public {
        Payee[] memory first = payees2(BOB, 400_000, CAROL, 600_000);
        uint32 id = registerPrompt(ALICE, first);
        vm.prank(ALICE);
        prompts.transferFrom(ALICE, ALICE, id);
        assertEq(prompts.payeesHashOf(id), _hash(first), "payees");
    }

    function test_AFurtherTransferDoesNotPutTheResetOff() public {
        uint32 id = registerPrompt(ALICE, payees2(ALICE, 400_000, CAROL, 600_000));
        vm.prank(ALICE);
        prompts.transferFrom(ALICE, BOB, id);
        uint256 transferredAt = vm.getBlockTimestamp();
        vm.warp(transferredAt + 5 days);
        vm.prank(BOB);
        prompts.transferFrom(BOB, CAROL, id);
        vm.warp(transferredAt + 7 days);
        assertEq(prompts.payeesHashOf(id), _OWNER_ALONE, "owner alone");
        // And what is reset and due leaves nothing behind for the next transfer.
        vm.prank(CAROL);
        prompts.transferFrom(CAROL, ALICE, id);
        assertEq(prompts.payeesHashOf(id), _OWNER_ALONE, "still");
    }

    function test_RevertWhen_NotTheOwnerSetsPayees() public {
        uint32 id = registerPrompt(ALICE, nobody());
        vm.prank(ALICE);
        prompts.approve(BOB, id);
        vm.prank(BOB);
        vm.expectRevert(abi.encodeWithSelector(IContribution721.Contribution_NotOwner.selector, id, BOB));
        prompts.setPayees(id, nobody());
        vm.expectRevert(abi.encodeWithSelector(IContribution721.Contribution_Unknown.selector, 9));
        prompts.setPayees(9, nobody());
    }

    function test_RevertWhen_AListIsInvalid() public {
        vm.expectRevert(abi.encodeWithSelector(PayeesLib.Payees_WrongSum.selector, 999_999));
        this.register(payees2(BOB, 1, CAROL, 999_998));
        vm.expectRevert(abi.encodeWithSelector(PayeesLib.Payees_WrongSum.selector, uint256(type(uint32).max) + 1));
        this.register(payees2(BOB, 1, CAROL, type(uint32).max));
        vm.expectRevert(abi.encodeWithSelector(PayeesLib.Payees_Empty.selector, 1, address(0), 1));
        this.register(payees2(BOB, 999_999, address(0), 1));
        vm.expectRevert(abi.encodeWithSelector(PayeesLib.Payees_Empty.selector, 0, BOB, 0));
        this.register(payees2(BOB, 0, CAROL, 1_000_000));
        vm.expectRevert(abi.encodeWithSelector(PayeesLib.Payees_TooMany.selector, 65, 64));
        this.register(new Payee[](65));
    }

    function register(Payee[] memory payees) external returns (uint32) {
        return registerPrompt(ALICE, payees);
    }

    /// @dev Any list of 1 to 64 shares that sum to a million is taken, and its hash is that of its plain encoding.
    function testFuzz_AListOfUpTo64IsTaken(uint256 seed, uint8 count) public {
        uint256 length = bound(count, 1, 64);
        Payee[] memory list = new Payee[](length);
        uint32 left = 1_000_000;
        for (uint256 i; i + 1 < length; ++i) {
            uint32 share = uint32(1 + (uint256(keccak256(abi.encode(seed, i))) % (2 * (left / (length - i)) - 1)));
            list[i] = Payee(address(uint160(i + 1)), share);
            left -= share;
        }
        list[length - 1] = Payee(address(uint160(length)), left);
        uint32 id = registerPrompt(ALICE, list);
        assertEq(prompts.payeesHashOf(id), _hash(list), "payees");
    }
}
