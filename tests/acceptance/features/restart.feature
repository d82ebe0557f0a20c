Feature: A restart in the middle of the work repeats nothing and forgets nothing
  Every asset is a file. It is Ready when the file is there; its sync writes the file. "Missing" assets have no file yet.
  Checks are evaluations that came to a verdict, syncs are those that started; both are counted from the last Given on.

  Scenario Outline: A chain that is partly healed goes on where it was
    Given the assets
      | asset | made from | at first |
      | A     |           | missing  |
      | B     | A         | missing  |
      | C     | B         | missing  |
      | D     | C         | missing  |
    And the sync of C is held back
    When the project is applied
    And the sync of C has begun
    And <what> is killed and comes back
    Then A and B are Ready as they were, and nothing was done to them since
    When the sync of C is let go
    Then everything becomes Ready
    And this was done
      | asset | checks | syncs |
      | A     | 2      | 1     |
      | B     | 1      | 1     |
      | C     | 1      | 1     |
      | D     | 1      | 1     |

    Examples:
      | what                      |
      | the session's own process |
      | the cell host             |

  Scenario Outline: What an asset owes to its upstream outlives a restart
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
    And A has become Ready
    And <what> is killed and comes back
    Then the first reason for B is Halted
    And nothing was done to B
    When the halt is lifted
    Then everything becomes Ready
    And this was done
      | asset | checks | syncs |
      | A     | 2      | 1     |
      | B     | 1      | 1     |

    Examples:
      | what                      |
      | the session's own process |
      | the cell host             |

  Scenario: A cooldown and the count of failures outlive a restart
    Given the settings
      | cooldownInitialSecs        | 2 |
      | maxConsecutiveSyncFailures | 2 |
    And the assets
      | asset | at first |
      | A     | missing  |
    And the sync of A is broken
    When the project is applied
    Then the first reason for A is CooldownUntil
    When the cell host is killed and comes back
    Then A becomes suspended
    And A is suspended by the guardrail because of "2 consecutive sync failures"
    And each sync of A waited at least 2 seconds after the one before had failed
    And this was done
      | asset | checks | syncs |
      | A     | 4      | 2     |

  Scenario: A clock goes on over a restart
    Given the assets
      | asset | checked every |
      | A     | 3s            |
    And the project is applied and everything becomes Ready
    When A is lost
    And the cell host is killed and comes back
    Then the next check of A is due when it was
    And everything becomes Ready
    And this was done
      | asset | checks | syncs |
      | A     | 2      | 1     |
