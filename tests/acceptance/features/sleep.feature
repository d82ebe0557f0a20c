Feature: A session with nothing to do sleeps, and wakes to what it knew
  Every asset is a file. It is Ready when the file is there; its sync writes the file. A session that sleeps has no
  process. Checks and syncs are counted from the last Given on.

  Scenario: A command wakes it, and looking at it does not
    Given the assets
      | asset | made from |
      | A     |           |
      | B     | A         |
    And the project is applied and everything becomes Ready
    When the session has fallen asleep
    Then it can be read, and sleeps on
    When A is lost
    And somebody has A checked
    Then everything becomes Ready
    And this was done
      | asset | checks | syncs |
      | A     | 2      | 1     |
      | B     | 1      | 1     |

  Scenario: A timer wakes it, as often as it is due
    Given the assets
      | asset | checked every |
      | A     | 3s            |
    And the project is applied and everything becomes Ready
    When the session has fallen asleep
    And A has been checked three times
    Then each check of A was due when it began, and late by less than 2.5 seconds
    And the session slept between the checks

  Scenario: A suspension outlives its sleep
    Given the assets
      | asset | made from |
      | A     |           |
      | B     | A         |
    And the project is applied and everything becomes Ready
    When somebody suspends B
    And the session has fallen asleep
    And A is lost
    And somebody has A checked
    And the session has fallen asleep
    Then B is suspended by the user
    When somebody resumes B
    Then everything becomes Ready
    And this was done
      | asset | checks | syncs |
      | A     | 2      | 1     |
      | B     | 2      | 1     |
