// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {Collection} from "../../../contracts/payments/IPaymentChannels.sol";
import {Voucher} from "../../../contracts/settlement/types/Voucher.sol";
import {InvariantBase} from "../TestBase.sol";
import {Collecting} from "./Collecting.sol";
import {SparseTree} from "./SparseTree.sol";

/// @notice Three channels to two operators, moved at random. Operators post any spending at all, honest or not; session
/// keys sign any cap.
contract ChannelActor is Collecting {
    uint32 private constant _CHANNELS = 3;

    uint256 public paidIn;
    uint256 public paidOut;

    /// @dev The highest cap that a channel's session key ever signed.
    mapping(uint32 channel => uint128) public highestCap;

    constructor() {
        deployPayments();
        uint32 first = registerOperator();
        uint32 second = registerOperator();
        openChannel(first, 50e18);
        openChannel(first, 70e18);
        openChannel(second, 90e18);
        paidIn = 210e18;
    }

    function deposit(uint8 which, uint128 amount) external {
        amount = uint128(bound(amount, 1, 20e18));
        if (token.balanceOf(alice) < amount) return;
        vm.prank(alice);
        channels.deposit(_channel(which), amount);
        paidIn += amount;
    }

    function startThaw(uint8 which, uint128 amount) external {
        vm.prank(alice);
        try channels.startThaw(_channel(which), bound(amount, 1, 60e18)) {} catch {}
    }

    function cancelThaw(uint8 which) external {
        vm.prank(alice);
        try channels.cancelThaw(_channel(which)) {} catch {}
    }

    function withdraw(uint8 which, uint256 wait) external {
        vm.warp(vm.getBlockTimestamp() + bound(wait, 0, 6 days));
        uint32 channel = _channel(which);
        (uint128 thawing, ) = channels.thawOf(channel);
        vm.prank(alice);
        try channels.withdraw(channel) returns (uint256 amount) {
            assertTrue(amount <= thawing, "more than announced");
            paidOut += amount;
        } catch {}
    }

    function collect(uint8 which, uint128 spent, uint128 cap, bool byStranger) external {
        uint32 channel = _channel(which);
        (uint32 operator, , ) = channels.channelOf(channel);
        Leaf[] memory leaves = list(leafOf(channel, uint128(bound(spent, 1, 120e18))));
        Voucher memory voucher = voucherOf(channel, uint128(bound(cap, 1, 120e18)));
        if (!byStranger && voucher.cap > highestCap[channel]) highestCap[channel] = voucher.cap;

        Collection[] memory collections = new Collection[](1);
        collections[0] = collectionWith(
            voucher,
            signed(voucher, byStranger ? ALICE_KEY : SESSION_KEY),
            leaves[0].state
        );
        SparseTree.Proof memory proof = prove(leaves, allOf(1));
        try channels.collect(finalise(operator, leaves), collections, proof.siblings, proof.bitmap) {
            assertFalse(byStranger, "collected by a stranger's voucher");
        } catch {}
    }

    function check() external view {
        uint256 held;
        uint256 collected;
        for (uint32 channel = 1; channel <= _CHANNELS; ++channel) {
            (, , uint128 deposited) = channels.channelOf(channel);
            uint128 gone = channels.collectedOf(channel);
            assertTrue(gone <= deposited, "collected more than deposited");
            assertTrue(gone <= highestCap[channel], "collected more than signed");
            held += deposited - gone;
            collected += gone;
        }
        assertEq(token.balanceOf(address(channels)), held, "held and owed differ");
        assertEq(token.balanceOf(address(settlement)), collected, "collected and moved differ");
        assertEq(settlement.credited(), collected, "collected and credited differ");
        assertEq(paidIn, paidOut + held + collected, "in and out differ");
    }

    function _channel(uint8 which) private pure returns (uint32) {
        return 1 + (which % _CHANNELS);
    }
}

contract ChannelInvariants is InvariantBase {
    ChannelActor private _actor;

    function setUp() public {
        _actor = new ChannelActor();
        targetContract(address(_actor));
    }

    /// @notice The channels hold exactly what they owe, and none loses more than its session key signed.
    function invariant_ChannelsAreSolvent() public view {
        _actor.check();
    }
}
