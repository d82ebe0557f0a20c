Feature: The loop brings what has drifted back to Ready, from the top down
  Every asset is a file. It is Ready when the file is there; its sync writes the file. "Missing" assets have no file yet.
  Checks are evaluations that came to a verdict, syncs are those that started; both are counted from the last Given on.

  Scenario: Scenario 1 - a linear chain heals from its top
    Given the assets
      | asset | made from | at first |
      | A     |           | missing  |
      | B     | A         | missing  |
      | C     | B         | missing  |
    When the project is applied
    Then everything becomes Ready
    And this was done
      | asset | checks | syncs |
      | A     | 2      | 1     |
      | B     | 1      | 1     |
      | C     | 1      | 1     |

  Scenario: Scenario 2 - of upstreams that become Ready in quick succession one counts with the running sync
    Given the assets
      | asset | made from | at first | checked every |
      | A     |           | missing  | 1h            |
      | B     |           | missing  | 1h            |
      | C     |           | missing  | 1h            |
      | X     | A, B, C   | missing  |               |
    And the syncs of B, C and X are held back
    When the project is applied
    And A has become Ready
    And the sync of X has begun
    And the sync of B is let go
    And B has become Ready
    And the sync of X is let go
    And X has become Ready
    And the sync of C is let go
    Then everything becomes Ready
    And this was done
      | asset | checks | syncs |
      | A     | 2      | 1     |
      | B     | 2      | 1     |
      | C     | 2      | 1     |
      | X     | 2      | 2     |

  Scenario: Scenario 3 - upstreams that become Ready one long after the other each count
    Given the assets
      | asset | made from | at first | checked every |
      | A     |           | missing  | 1h            |
      | B     |           | missing  | 1h            |
      | C     |           | missing  | 1h            |
      | X     | A, B, C   | missing  |               |
    And the syncs of B and C are held back
    When the project is applied
    And X has become Ready
    And the sync of B is let go
    And X has become Ready twice
    And the sync of C is let go
    And X has become Ready three times
    Then everything becomes Ready
    And this was done
      | asset | checks | syncs |
      | X     | 3      | 3     |

  Scenario: Scenario 4 - a fan-out runs its branches side by side
    Given the assets
      | asset | made from | at first | checked every |
      | A     |           | missing  | 1h            |
      | B     | A         | missing  |               |
      | C     | A         | missing  |               |
      | D     | A         | missing  |               |
    And the syncs of B, C and D are held back
    When the project is applied
    And the syncs of B, C and D have begun
    And the syncs of B, C and D are let go
    Then everything becomes Ready
    And this was done
      | asset | checks | syncs |
      | A     | 2      | 1     |
      | B     | 1      | 1     |
      | C     | 1      | 1     |
      | D     | 1      | 1     |

  Scenario: Scenario 5 - a diamond syncs its foot once
    Given the assets
      | asset | made from | at first | checked every |
      | A     |           | missing  | 1h            |
      | B     | A         | missing  |               |
      | C     | A         | missing  |               |
      | X     | B, C      | missing  |               |
    And the syncs of C and X are held back
    When the project is applied
    And the sync of X has begun
    And the sync of C is let go
    And C has become Ready
    And the sync of X is let go
    Then everything becomes Ready
    And this was done
      | asset | checks | syncs |
      | B     | 1      | 1     |
      | C     | 1      | 1     |
      | X     | 1      | 1     |

  Scenario: Scenario 6 - checks by the clock go on beside syncs for an upstream
    Given the assets
      | asset | made from | checked every |
      | A     |           | 1h            |
      | B     | A         | 2s            |
    And the project is applied and everything becomes Ready
    When A is lost
    And B has been checked twice
    And somebody has A checked
    And B has been checked four times
    Then everything becomes Ready
    And this was done
      | asset | checks | syncs |
      | A     | 2      | 1     |
      | B     | 4      | 1     |

  Scenario: Scenario 7 - a drifted upstream holds up everything below it
    Given the assets
      | asset | made from | checked every |
      | A     |           | 1h            |
      | B     | A         | 3s            |
      | C     | B         |               |
    And the sync of A is held back
    And the project is applied and everything becomes Ready
    When A is lost
    And somebody has A checked
    And the time for a check of B comes
    Then the first reason for B is SyncRunning of A
    And nothing was done to B and C
    When the sync of A is let go
    And C has become Ready
    Then everything becomes Ready
    And this was done
      | asset | checks | syncs |
      | A     | 2      | 1     |
      | B     | 1      | 1     |
      | C     | 1      | 1     |

  Scenario: A chain that was Ready heals to its end
    Given the assets
      | asset | made from |
      | A     |           |
      | B     | A         |
      | C     | B         |
    And the project is applied and everything becomes Ready
    When A is lost
    And somebody has A checked
    Then everything becomes Ready
    And this was done
      | asset | checks | syncs |
      | A     | 2      | 1     |
      | B     | 1      | 1     |
      | C     | 1      | 1     |

  Scenario: A chain that is Ready is only looked at
    Given the assets
      | asset | made from |
      | A     |           |
      | B     | A         |
    When the project is applied
    Then everything becomes Ready
    And this was done
      | asset | checks | syncs |
      | A     | 1      | 0     |
      | B     | 1      | 0     |
