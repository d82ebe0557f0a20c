Feature: When an asset is checked, and when it is synced
  Every asset is a file. It is Ready when the file is there; its sync writes the file. "Missing" assets have no file yet.
  Checks are evaluations that came to a verdict, syncs are those that started; both are counted from the last Given on.

  Scenario: Drift is found by the clock
    Given the assets
      | asset | checked every |
      | A     | 1s            |
    And the project is applied and everything becomes Ready
    When A is lost
    And A has become Ready
    Then everything becomes Ready
    And the sync of A begins

  Scenario Outline: A time of day is kept by the clock of its place
    Given the assets
      | asset |
      | A     |
    And A is checked at "<time>" by the clock of <place>
    When the project is applied
    Then everything becomes Ready
    And the next check of A is the next <hour>:<minute> in <place>

    Examples:
      | time        | place            | hour | minute |
      | 30 6 * * *  | Europe/Berlin    | 6    | 30     |
      | 45 23 * * * | Asia/Kolkata     | 23   | 45     |
      | 0 12 * * *  | America/St_Johns | 12   | 0      |

  Scenario Outline: A date beyond the change of the clocks is kept by the clock of its place
    Given the assets
      | asset |
      | A     |
    And A is checked at "0 12 1 <month> *" by the clock of <place>
    When the project is applied
    Then everything becomes Ready
    And the next check of A is at noon of the first day of month <month> in <place>

    Examples:
      | month | place            |
      | 1     | Europe/Berlin    |
      | 7     | Europe/Berlin    |
      | 1     | America/New_York |
      | 7     | America/New_York |

  Scenario: A check by the clock on the wall comes on the minute
    Given the assets
      | asset |
      | A     |
    And A is checked at "* * * * *" by the clock of Europe/Berlin
    And the project is applied and everything becomes Ready
    When A is lost
    Then a check of A begins on the minute
    And everything becomes Ready
    And this was done
      | asset | checks | syncs |
      | A     | 2      | 1     |

  Scenario: A result that is fresh enough is taken again by the clock, and by nobody else
    Given the assets
      | asset | checked every | fresh for |
      | A     | 1s            | 1h        |
      | B     | 1s            |           |
    And the project is applied and everything becomes Ready
    When A is lost
    And B has been checked three times
    Then nothing was done to A
    And A is still known as Ready
    When somebody has A checked
    Then everything becomes Ready
    And the sync of A begins

  Scenario: An asset without checks hands on what happens above it
    Given the assets
      | asset | made from | at first  |
      | A     |           | missing   |
      | P     | A         | no checks |
      | B     | P         | missing   |
    And the sync of A is held back
    When the project is applied
    And the sync of A has begun
    Then the first reason for B is SyncRunning of A
    When the sync of A is let go
    Then everything becomes Ready
    And this was done
      | asset | checks | syncs |
      | A     | 2      | 1     |
      | P     | 0      | 0     |
      | B     | 1      | 1     |

  Scenario: An asset that is not synced by itself is checked, and hands on what happens above it
    Given the assets
      | asset | made from | by itself |
      | A     |           |           |
      | B     | A         | no        |
      | C     | B         |           |
    And the project is applied and everything becomes Ready
    When A is lost
    And somebody has A checked
    And C has become Ready
    Then everything becomes Ready
    And this was done
      | asset | checks | syncs |
      | A     | 2      | 1     |
      | B     | 1      | 0     |
      | C     | 1      | 1     |

  Scenario: An asset that is not synced by itself waits for somebody
    Given the assets
      | asset | made from | by itself |
      | B     |           | no        |
      | C     | B         |           |
    And the project is applied and everything becomes Ready
    When B is lost
    And somebody has B checked
    Then B becomes Drifted
    And the first reason for B is AutoSyncOff
    When somebody syncs B
    And C has become Ready
    Then everything becomes Ready
    And this was done
      | asset | checks | syncs |
      | B     | 2      | 1     |
      | C     | 1      | 1     |

  Scenario: In a diamond whose foot waits until everything above is done each asset is synced once
    Given the assets
      | asset | made from | at first |
      | A     |           | missing  |
      | B     | A         | missing  |
      | C     | A         | missing  |
      | X     | B, C      | missing  |
    And X waits until everything above is done
    And the sync of C is held back
    When the project is applied
    And B has become Ready
    And the sync of C has begun
    Then the first reason for X is SyncRunning of C
    And nothing was done to X
    When the sync of C is let go
    Then everything becomes Ready
    And this was done
      | asset | checks | syncs |
      | A     | 2      | 1     |
      | B     | 1      | 1     |
      | C     | 1      | 1     |
      | X     | 1      | 1     |

  Scenario: Without that a foot is synced again for a branch that ends late
    Given the assets
      | asset | made from | at first |
      | A     |           | missing  |
      | B     | A         | missing  |
      | C     | A         | missing  |
      | X     | B, C      | missing  |
    And the sync of C is held back
    When the project is applied
    And X has become Ready
    And the sync of C is let go
    And X has become Ready twice
    Then everything becomes Ready
    And this was done
      | asset | checks | syncs |
      | A     | 2      | 1     |
      | B     | 1      | 1     |
      | C     | 1      | 1     |
      | X     | 2      | 2     |

  Scenario: An apply that changes files alone has those assets checked that ask for it
    Given the assets
      | asset |
      | A     |
      | B     |
    And A is checked when the files change
    And the project is applied and everything becomes Ready
    When another file comes into the project
    And the project is applied again
    And A has been checked once
    Then everything becomes Ready
    And nothing was done to B
    And this was done
      | asset | checks | syncs |
      | A     | 1      | 0     |

  Scenario: An apply has those assets checked that it changes, and no others
    Given the assets
      | asset |
      | A     |
      | B     |
    And the project is applied and everything becomes Ready
    When A is from now on checked every 1h
    And the project is applied again
    And A has been checked once
    And the project is applied again
    Then everything becomes Ready
    And this was done
      | asset | checks | syncs |
      | A     | 1      | 0     |
      | B     | 0      | 0     |

  Scenario: Of several checks the first that fails decides which sync runs
    Given the assets
      | asset | at first |
      | A     | missing  |
    And A has the parts "schema, rows", of which "schema" is there
    When the project is applied
    Then everything becomes Ready
    And the syncs of A made "rows"

  Scenario: For what happens above it an asset may have a sync of its own
    Given the assets
      | asset | made from | at first |
      | A     |           | there    |
      | B     | A         | missing  |
    And B has the parts "schema, rows", of which "schema, rows" is there
    And B is synced by "rows" when something above it was
    And the project is applied and everything becomes Ready
    When somebody syncs A
    And B has become Ready
    Then everything becomes Ready
    And the syncs of B made "rows"
    And this was done
      | asset | checks | syncs |
      | A     | 1      | 1     |
      | B     | 1      | 1     |

  Scenario: When several checks fail their syncs run one after the other, from the top
    Given the assets
      | asset | at first |
      | A     | missing  |
    And A has the parts "schema, rows", of which none is there
    When the project is applied
    Then everything becomes Ready
    And the syncs of A made "schema, rows"
    And this was done
      | asset | checks | syncs |
      | A     | 3      | 2     |

  Scenario: Below a check without an answer nothing is synced
    Given the assets
      | asset | at first |
      | A     | missing  |
    And A has the parts "schema, rows", of which "schema" is there
    And the checks of A are programs of the project
    And the project is applied and everything becomes Ready
    When the program that checks "schema" of A is gone
    And "rows" of A is lost
    And somebody has A checked
    Then A is still known as Drifted
    And this was done
      | asset | checks | syncs |
      | A     | 1      | 0     |
    When the program that checks "schema" of A is back
    And somebody has A checked
    Then everything becomes Ready
    And the syncs of A made "rows"

  Scenario: A check without an answer changes nothing but that it is tried again
    Given the assets
      | asset | made from |
      | A     |           |
      | B     | A         |
    And the checks of A are programs of the project
    And the project is applied and everything becomes Ready
    When the program that checks "txt" of A is gone
    And A is lost
    And somebody has A checked
    Then A is still known as Ready
    And the first reason for A is EvaluationFailing
    And A is checked again after 30 seconds
    And somebody can read why A has no answer
    And nothing was done to A and B
    When the program that checks "txt" of A is back
    And somebody has A checked
    Then everything becomes Ready
    And this was done
      | asset | checks | syncs |
      | A     | 2      | 1     |
      | B     | 1      | 1     |
