Feature: What people ask for by hand
  Every asset is a file. It is Ready when the file is there; its sync writes the file. "Missing" assets have no file yet.
  Checks are evaluations that came to a verdict, syncs are those that started; both are counted from the last Given on.

  Scenario: Assets are named by their names, by what is above and below them, and by labels
    Given the assets
      | asset | made from | labels                  |
      | A     |           | team=finance layer=raw  |
      | B     | A         | team=finance layer=mart |
      | C     | B         | team=sales layer=mart   |
      | D     | C         | team=sales              |
    And the project is applied and everything becomes Ready
    Then these are checked when somebody asks for them
      | asked for                | but not | are checked |
      | B                        |         | B           |
      | +B                       |         | A, B        |
      | B+                       |         | B, C, D     |
      | 1+C                      |         | B, C        |
      | B+1                      |         | B, C        |
      | 1+B+1                    |         | A, B, C     |
      | A D                      |         | A, D        |
      | label:layer              |         | A, B, C     |
      | label:team=sales         |         | C, D        |
      | +C,label:team=finance    |         | A, B        |
      | label:team=finance D     |         | A, B, D     |
      | +D                       | C+      | A, B        |
      | +D                       | A label:team=sales | B |
      |                          |         | A, B, C, D  |
      |                          | B       | A, C, D     |

  Scenario: A name that nothing has is refused, with the nearest one
    Given an asset "orders" and an asset "payments"
    And the project is applied and everything becomes Ready
    When somebody has "ordres" checked
    Then that is refused with "there is no asset 'ordres'; did you mean 'orders'?"
    And nothing else happened

  Scenario: What is synced by hand is synced from the top down, each asset once
    Given the assets
      | asset | made from |
      | A     |           |
      | B     | A         |
      | C     | B         |
    And the project is applied and everything becomes Ready
    When somebody syncs "A+"
    Then that succeeds
    And everything becomes Ready
    And the syncs began in the order A, B, C
    And this was done
      | asset | checks | syncs |
      | A     | 1      | 1     |
      | B     | 1      | 1     |
      | C     | 1      | 1     |

  Scenario: A dry run says what would run, and runs nothing
    Given the assets
      | asset | made from | at first |
      | A     |           | there    |
      | B     | A         | there    |
      | C     | B         | there    |
    And before and after the sync of A something else is done
    And the project is applied and everything becomes Ready
    When B is lost
    And somebody asks for a dry run of a sync of "+B"
    Then that succeeds
    And these would be synced
      | asset | stages         |
      | A     | pre, run, post |
      | B     | run            |
    When somebody asks for a dry run of a check of "B+"
    Then that succeeds
    And these would be checked
      | asset | checks         |
      | B     | b.txt is there |
      | C     | c.txt is there |
    And nothing ran in the session, not even a check
    And B is still known as Ready

  Scenario: What is synced by hand is synced whatever its state: Ready, suspended, halted, resting
    Given the settings
      | cooldownInitialSecs        | 600 |
      | maxConsecutiveSyncFailures | 1   |
    And the assets
      | asset | at first |
      | A     | missing  |
      | B     | there    |
    And the sync of A is broken
    When the project is applied
    Then A becomes suspended
    When the sync of A is repaired
    And the session is halted
    And somebody syncs A and B
    Then that succeeds
    And A and B become Ready
    And A is not suspended
    And this was done
      | asset | checks | syncs |
      | A     | 3      | 2     |
      | B     | 2      | 1     |

  Scenario: What is below a sync that fails is left out
    Given the assets
      | asset | made from | at first |
      | A     |           | there    |
      | B     | A         | there    |
      | C     | B         | there    |
    And the sync of B is broken
    And the project is applied and everything becomes Ready
    When somebody syncs "A+"
    Then that fails with "b: failed, c: left_out"
    And this was done
      | asset | checks | syncs |
      | A     | 1      | 1     |
      | B     | 1      | 1     |
      | C     | 0      | 0     |

  Scenario: One stage of a sync by hand does that stage alone, and nothing follows from it
    Given the assets
      | asset | made from |
      | A     |           |
      | B     | A         |
    And before and after the sync of A something else is done
    And the project is applied and everything becomes Ready
    When somebody runs the stages "pre, post" of the sync of A
    Then that succeeds
    And of the sync of A "pre, post" was done
    And nothing was done to B
    When somebody syncs A
    Then that succeeds
    And everything becomes Ready
    And of the sync of A "pre, post, pre, run, post" was done
    And this was done
      | asset | checks | syncs |
      | A     | 2      | 2     |
      | B     | 1      | 1     |

  Scenario: A sync that is cancelled ends at once and is not taken for a failure
    Given the settings
      | cooldownInitialSecs | 1 |
    And the assets
      | asset | at first |
      | A     | missing  |
    And the sync of A is held back
    When the project is applied
    And the sync of A is under way
    And somebody cancels the sync of A
    Then that succeeds
    And the sync of A is cancelled
    And A has not failed
    And no sync of A came to its end
    When the sync of A is let go
    Then everything becomes Ready
    And this was done
      | asset | checks | syncs |
      | A     | 3      | 2     |

  Scenario: A cancel gets through to a session that has as much to do as it may have
    Given the assets
      | asset | at first |
      | A     | missing  |
    And the sync of A is held back
    When the project is applied
    And the sync of A has begun
    And so many checks of A are asked for that no more are taken
    And somebody cancels the sync of A
    Then that succeeds
    And the sync of A is cancelled
    And all that was asked for comes to an end
    And no sync of A came to its end

  Scenario: No more syncs run at a time than the project allows
    Given the settings
      | maxSyncConcurrency | 2 |
    And the assets
      | asset | at first |
      | A     | missing  |
      | B     | missing  |
      | C     | missing  |
      | D     | missing  |
    And the syncs of A, B, C and D are held back
    When the project is applied
    And two of the syncs have begun
    Then the other two wait for their turn
    When the syncs of A, B, C and D are let go
    Then everything becomes Ready
    And at most 2 syncs ran at a time, and once 2 did

  Scenario: No more checks run at a time than the project allows
    Given the settings
      | maxEvaluateConcurrency | 1 |
    And the assets
      | asset |
      | A     |
      | B     |
      | C     |
    And the project is applied and everything becomes Ready
    When somebody has A, B and C checked
    Then at most 1 check ran at a time
    And this was done
      | asset | checks | syncs |
      | A     | 1      | 0     |
      | B     | 1      | 0     |
      | C     | 1      | 0     |
