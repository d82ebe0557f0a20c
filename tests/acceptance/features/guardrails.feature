Feature: Syncs that do harm, or no good, are stopped
  Every asset is a file. It is Ready when the file is there; its sync writes the file. "Missing" assets have no file yet.
  Checks are evaluations that came to a verdict, syncs are those that started; both are counted from the last Given on.

  Scenario Outline: After three failed syncs in a row the asset is suspended
    Given the settings
      | cooldownInitialSecs | 1 |
      | cooldownMaxSecs     | 1 |
    And the assets
      | asset | at first |
      | A     | missing  |
    And the sync of A is <wrong>
    When the project is applied
    Then A becomes suspended
    And A is suspended by the guardrail because of "3 consecutive sync failures"
    And this was done
      | asset | checks | syncs |
      | A     | 6      | 3     |
    And each sync of A waited at least 1 second after the one before had failed

    Examples:
      | wrong          |
      | broken         |
      | without effect |

  Scenario: A sync after which fewer checks hold than before suspends the asset at once
    Given the assets
      | asset | at first |
      | A     | missing  |
    And A has the parts "rows, columns", of which "columns" is there
    And the sync of A destroys the other parts
    When the project is applied
    Then A becomes suspended
    And A is suspended by the guardrail because of "degraded: fewer conditions hold than before the sync"
    And this was done
      | asset | checks | syncs |
      | A     | 2      | 1     |

  Scenario: A suspended asset is still checked, and becoming Ready lifts the suspension
    Given the settings
      | maxConsecutiveSyncFailures | 1 |
    And the assets
      | asset | at first |
      | A     | missing  |
    And the sync of A is broken
    When the project is applied
    Then A becomes suspended
    When somebody has A checked
    Then A is suspended by the guardrail because of "1 consecutive sync failures"
    And this was done
      | asset | checks | syncs |
      | A     | 3      | 1     |
    When A is put back by hand
    And somebody has A checked
    Then A becomes Ready
    And A is not suspended
    When the sync of A is repaired
    And A is lost
    And somebody has A checked
    Then everything becomes Ready
    And this was done
      | asset | checks | syncs |
      | A     | 6      | 2     |

  Scenario: A suspension by a person is lifted by a person alone
    Given the assets
      | asset |
      | A     |
    And the project is applied and everything becomes Ready
    When somebody suspends A
    And A is lost
    And somebody has A checked
    Then A is still known as Drifted
    And the first reason for A is AssetSuspended
    When A is put back by hand
    And somebody has A checked
    Then A is still known as Ready
    And A is suspended by the user
    When A is lost
    And somebody resumes A
    Then everything becomes Ready
    And A is not suspended
    And this was done
      | asset | checks | syncs |
      | A     | 4      | 1     |

  Scenario: When the cooldown is over the asset is checked and synced again by itself
    Given the settings
      | cooldownInitialSecs | 2 |
    And the assets
      | asset | at first |
      | A     | missing  |
    And the sync of A is broken
    When the project is applied
    Then the first reason for A is CooldownUntil
    When the sync of A is repaired
    Then everything becomes Ready
    And this was done
      | asset | checks | syncs |
      | A     | 4      | 2     |
    And each sync of A waited at least 2 seconds after the one before had failed

  Scenario: What an asset owes to its upstream outlives a suspension
    Given the settings
      | maxConsecutiveSyncFailures | 1 |
    And the assets
      | asset | made from |
      | A     |           |
      | B     | A         |
    And the sync of B is broken
    And the project is applied and everything becomes Ready
    When A is lost
    And somebody has A checked
    Then B becomes suspended
    And B is still known as Ready
    When the sync of B is repaired
    And somebody resumes B
    Then everything becomes Ready
    And this was done
      | asset | checks | syncs |
      | A     | 2      | 1     |
      | B     | 2      | 2     |

  Scenario: A suspended asset hands on what happens above it, and makes up for it itself later
    Given the assets
      | asset | made from |
      | A     |           |
      | B     | A         |
      | C     | B         |
    And the project is applied and everything becomes Ready
    When somebody suspends B
    And A is lost
    And somebody has A checked
    And C has become Ready
    Then B is suspended by the user
    And this was done
      | asset | checks | syncs |
      | A     | 2      | 1     |
      | B     | 1      | 0     |
      | C     | 1      | 1     |
    When somebody resumes B
    And C has become Ready twice
    Then everything becomes Ready
    And this was done
      | asset | checks | syncs |
      | A     | 2      | 1     |
      | B     | 2      | 1     |
      | C     | 2      | 2     |

  Scenario: A sync that runs when the session is halted ends well, and nothing is synced after it
    Given the assets
      | asset | made from |
      | A     |           |
      | B     | A         |
    And the sync of A is held back
    And the project is applied and everything becomes Ready
    When A is lost
    And somebody has A checked
    And the sync of A has begun
    And the session is halted
    And the sync of A is let go
    Then A becomes Ready
    And the first reason for B is Halted
    And nothing was done to B
    When the halt is lifted
    Then everything becomes Ready
    And this was done
      | asset | checks | syncs |
      | A     | 2      | 1     |
      | B     | 1      | 1     |

  Scenario: A new asset is checked under a halt even when it already owes a sync to its upstream
    Given the assets
      | asset | made from | at first |
      | A     |           | missing  |
      | B     | A         | missing  |
    And the sync of A is held back
    When the project is applied
    And the sync of A has begun
    And the session is halted
    And the sync of A is let go
    Then B becomes Drifted
    And this was done
      | asset | checks | syncs |
      | A     | 2      | 1     |
      | B     | 1      | 0     |
    When the halt is lifted
    Then everything becomes Ready
    And this was done
      | asset | checks | syncs |
      | B     | 2      | 1     |

  Scenario: Under a halt drift is found and not synced, and becoming Ready lifts nothing
    Given the assets
      | asset |
      | A     |
      | B     |
    And the project is applied and everything becomes Ready
    When the session is halted
    And A and B are lost
    And somebody has A and B checked
    Then A and B become Drifted
    And the first reason for A is Halted
    When B is put back by hand
    And somebody has B checked
    Then B becomes Ready
    And the first reason for A is Halted
    And this was done
      | asset | checks | syncs |
      | A     | 1      | 0     |
      | B     | 2      | 0     |
    When the halt is lifted
    Then everything becomes Ready
    And this was done
      | asset | checks | syncs |
      | A     | 3      | 1     |
      | B     | 2      | 0     |

  Scenario: A sync whose lock another session holds is skipped, and tried again later
    Given the settings
      | lockRetryIntervalSeconds | 1 |
      | lockRetryMaxAttempts     | 2 |
      | cooldownInitialSecs      | 1 |
    And the assets
      | asset | at first |
      | A     | missing  |
    And the sync of A needs the lock "warehouse"
    And another session is syncing under the lock "warehouse"
    When the project is applied
    Then the first reason for A is LockHeld
    And the sync of A is skipped after 2 attempts
    And this was done
      | asset | checks | syncs |
      | A     | 1      | 0     |
    When the sync of the other session is let go
    Then everything becomes Ready
    And A has not failed

  Scenario: Syncs of one session that share a lock run one after the other
    Given the assets
      | asset | at first |
      | A     | missing  |
      | B     | missing  |
      | C     | missing  |
    And the syncs of A, B and C share the lock "the same table"
    And the syncs of A, B and C are held back
    When the project is applied
    And one of the syncs has begun
    Then the other two wait for the lock
    When the syncs of A, B and C are let go
    Then everything becomes Ready
    And one sync ran at a time
    And this was done
      | asset | checks | syncs |
      | A     | 2      | 1     |
      | B     | 2      | 1     |
      | C     | 2      | 1     |
